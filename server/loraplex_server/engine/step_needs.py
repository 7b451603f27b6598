"""What steps take of a GPU's memory beside weights, KV cache and adapters: measured, not guessed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")


@dataclass(frozen=True)
class StepNeeds:
    """Bytes."""

    activations: int = 0
    graphs: int = 0


def peak_of(work: Callable[[], None], device: torch.device) -> int:
    """Bytes that torch took from a GPU while `work` ran, beyond what it had; they are given back."""
    _settle(device)
    before = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    work()
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_reserved(device) - before
    _settle(device)
    return peak


def kept_by(make: Callable[[], T], device: torch.device) -> tuple[T, int]:
    """What `make` gives, and the bytes of a GPU that are gone with it, the driver's own among them."""
    _settle(device)
    before = torch.cuda.mem_get_info(device)[0]
    made = make()
    _settle(device)
    return made, max(before - torch.cuda.mem_get_info(device)[0], 0)


def give_back(device: torch.device) -> None:
    """Return to a GPU what nobody refers to any more: what is asked of its memory next then counts it as free.

    Graphs refer to what they were made of and it to them, so only the collector finds that they are gone.
    """
    gc.collect()
    _settle(device)


def _settle(device: torch.device) -> None:
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
