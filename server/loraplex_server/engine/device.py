"""Where the engine computes, and in which number format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from loraplex_kernels.ops.dispatch import has_triton
from loraplex_server.engine.config import Device, DType, EngineConfig
from loraplex_server.engine.cores import usable_cores
from loraplex_server.engine.dtype import Format, choose_dtype
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


def rank_device(config: EngineConfig, rank: int) -> torch.device:
    """Where one rank of an engine computes.

    Raises:
        EngineStartError: see `resolve_device`; or there are fewer GPUs than ranks.
    """
    device, size = resolve_device(config.device), config.tensor_parallel_size
    if size == 1 or device.type != "cuda":
        return device
    if torch.cuda.device_count() < size:
        raise EngineStartError(
            f"--tensor-parallel-size {size}: torch sees {torch.cuda.device_count()} GPUs here, and each rank needs one"
        )
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    return device


def resolve_dtype(asked: DType, checkpoint: Format, device: torch.device) -> torch.dtype:
    """See `choose_dtype`; torch says what this CPU has."""
    dtype: torch.dtype = getattr(torch, choose_dtype(asked, checkpoint, device.type, native=_cpu_has_bfloat16()))
    return dtype


def _cpu_has_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported())


def set_threads(config: EngineConfig) -> None:
    """One compute thread a core that this rank may use, unless told otherwise."""
    torch.set_num_threads(config.threads or rank_cores(config))


def rank_cores(config: EngineConfig) -> int:
    """One rank's part of the cores that this process may use; at least 1."""
    return max(usable_cores() // config.tensor_parallel_size, 1)


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
