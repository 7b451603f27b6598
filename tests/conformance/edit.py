"""What happens to an adapter's folder after PEFT wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"

Edit = Callable[[Path], None]


def edited(**changes: Any) -> Edit:
    """Keys of the config, set."""
    return lambda folder: _rewrite(folder, lambda values: values | changes)


def without(key: str) -> Edit:
    """A key of the config, taken out."""
    return lambda folder: _rewrite(folder, lambda values: {k: v for k, v in values.items() if k != key})


def rewritten(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Edit:
    """The tensors, changed."""

    def edit(folder: Path) -> None:
        save_file(change(load_file(folder / TENSORS)), folder / TENSORS, metadata={"format": "pt"})

    return edit


def _rewrite(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
