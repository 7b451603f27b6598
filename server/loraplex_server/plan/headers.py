"""The headers of safetensors files: names and sizes of tensors, without the tensors."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, NotASafetensorsRepoError

from loraplex_server.models.errors import CheckpointError
from loraplex_server.models.shards import shards
from loraplex_server.plan.error import PlanError

_LONGEST = 100 << 20  # of a header, by the format's own definition
# What quantizers save beside a weight that is no part of what is served.
_UNUSED = ("g_idx", "weight_shape", "num_batches_tracked")


def stored_bytes(path_or_id: str, folder: Path) -> Mapping[str, int]:
    """Bytes of each module's tensors.

    Args:
        path_or_id: as the model was asked for.
        folder: of its config.

    Raises:
        PlanError: there are no safetensors files, or one is damaged.
    """
    sizes = _of_files(_files(folder)) if any(folder.glob("*.safetensors")) else _of_hub(path_or_id)
    modules: dict[str, int] = defaultdict(int)
    for name, size in sizes:
        module, _, part = name.rpartition(".")
        if part not in _UNUSED:
            modules[name.split(".weight", 1)[0] if ".weight" in name else module] += size
    return modules


def _files(folder: Path) -> list[Path]:
    try:
        return shards(folder)
    except CheckpointError as error:
        raise PlanError(str(error)) from error


def _of_files(files: Iterable[Path]) -> Iterable[tuple[str, int]]:
    for path in files:
        for name, tensor in _header(path).items():
            if name != "__metadata__":
                first, last = tensor["data_offsets"]
                yield name, last - first


def _header(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LONGEST:
            raise PlanError(f"{path} is no safetensors file: its header cannot be {length} bytes long")
        try:
            found = json.loads(file.read(length))
        except ValueError as error:
            raise PlanError(f"{path} is no safetensors file: {error}") from error
    if not isinstance(found, dict):
        raise PlanError(f"{path} is no safetensors file: its header is no JSON object")
    return found


def _of_hub(path_or_id: str) -> Iterable[tuple[str, int]]:
    try:
        found = huggingface_hub.get_safetensors_metadata(path_or_id)
    except (HfHubHTTPError, HFValidationError, NotASafetensorsRepoError, OSError) as error:
        raise PlanError(f"the headers of {path_or_id}'s files cannot be read: {error}") from error
    for file in found.files_metadata.values():
        for name, tensor in file.tensors.items():
            yield name, tensor.data_offsets[1] - tensor.data_offsets[0]
