"""Where the engine computes, and in which number format."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from loraplex_server.engine.config import Device, DType, EngineConfig


class EngineStartError(RuntimeError):
    """The engine cannot start as configured; the message says which setting to change."""


def resolve_device(device: Device) -> torch.device:
    """`auto` is the GPU where there is one.

    Raises:
        EngineStartError: `cuda` was asked for and this torch sees none.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise EngineStartError("--device cuda: torch sees no CUDA device here; use --device cpu or auto")
    return torch.device("cuda" if device == "cuda" or (device == "auto" and available) else "cpu")


def checkpoint_dtype(folder: Path) -> torch.dtype:
    """What the checkpoint's config says its weights are; float32 where it says nothing, as in transformers."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = config.get("dtype", config.get("torch_dtype"))
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(name, torch.float32)


def resolve_dtype(dtype: DType, checkpoint: torch.dtype, device: torch.device) -> torch.dtype:
    """`auto` is the checkpoint's own format where the device computes it natively, else the nearest that it does.

    A CPU without bfloat16 instructions emulates them at a fraction of float32's speed, and no CPU here has float16's.
    """
    if dtype != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    if device.type == "cuda":
        return torch.bfloat16 if checkpoint == torch.float32 else checkpoint
    if checkpoint == torch.float32 or not _cpu_has_bfloat16():
        return torch.float32
    return torch.bfloat16


def _cpu_has_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported())


def set_threads(config: EngineConfig) -> None:
    """One compute thread a core that this process may use, unless told otherwise."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(config.threads or cores)
