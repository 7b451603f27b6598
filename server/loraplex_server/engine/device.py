"""Where the engine computes, and in which number format."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from loraplex_kernels.ops.dispatch import has_triton
from loraplex_server.engine.config import Device, DType, EngineConfig
from loraplex_server.engine.errors import EngineStartError

OLDEST_GPU = (8, 0)  # compute capability: bfloat16 products and asynchronous copies, which the kernels are made of


def resolve_device(device: Device) -> torch.device:
    """`auto` is the GPU where there is one.

    Raises:
        EngineStartError: `cuda` was asked for and this torch sees none, or the GPU is none that the kernels run on.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise EngineStartError("--device cuda: torch sees no CUDA device here; use --device cpu or auto")
    if device == "cpu" or not available:
        return torch.device("cpu")
    if not has_triton():
        raise EngineStartError(f"--device {device}: the GPU's kernels need Triton; install triton, or use --device cpu")
    capability = torch.cuda.get_device_capability()
    if capability < OLDEST_GPU:
        raise EngineStartError(
            f"--device {device}: the GPU has compute capability {capability[0]}.{capability[1]}, and the kernels are "
            f"made for {OLDEST_GPU[0]}.{OLDEST_GPU[1]} (Ampere) and later; use --device cpu"
        )
    return torch.device("cuda")


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


@contextmanager
def room_for(what: str, advice: str) -> Iterator[None]:
    """Say what a GPU's memory was too small for, and what to do, where torch says how many bytes it lacked.

    Args:
        what: is made inside.
        advice: how it would need less.

    Raises:
        EngineStartError: torch ran out of memory inside.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EngineStartError(f"the GPU's memory is too small for {what}: {advice}. torch: {error}") from error
