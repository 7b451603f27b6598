"""Which files of a folder are the checkpoint. No torch: a plan weighs the same files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from loraplex_server.models.errors import CheckpointError

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SHOWN = 8  # names in an error message


def shards(folder: Path) -> list[Path]:
    """The one file, or else those that the index names, as transformers has it: saving one file leaves an old index.

    Raises:
        CheckpointError: there is neither, or only pickles; the index is none, or names other folders' files.
    """
    if (folder / _SINGLE).exists():
        return [folder / _SINGLE]
    index = folder / _INDEX
    if index.exists():
        try:
            names = {Path(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{index} is no index of safetensors shards: {error!r}") from error
        outside = [str(name) for name in names if str(name) != name.name]
        if outside:
            raise CheckpointError(f"{index} names files outside its folder: {listed(outside)}")
        return [folder / name for name in sorted(names)]
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickles:
        raise CheckpointError(
            f"{folder} holds its weights as pickle ({listed(pickles)}), which can run code when it is read and is "
            "refused; convert them to safetensors"
        )
    raise CheckpointError(f"{folder} holds neither {_SINGLE} nor {_INDEX}")


def listed(names: Iterable[str]) -> str:
    """The first of some names, for a message."""
    ordered = sorted(names)
    rest = len(ordered) - _SHOWN
    return ", ".join(ordered[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
