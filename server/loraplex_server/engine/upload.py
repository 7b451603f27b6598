"""A step's small arrays on their way to the device, and its results on their way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

ALIGNMENT = 16  # bytes: no kernel has to care at which offset an array lies


def upload(arrays: Sequence[npt.NDArray[Any]], device: torch.device) -> list[Tensor]:
    """The arrays as tensors on the device, through one copy that the host does not wait for.

    On a GPU they are views of one buffer, and come over from pinned memory, which torch's allocator keeps until the
    stream has passed the copy. On the CPU they share the arrays' memory.
    """
    if device.type != "cuda":
        return [torch.from_numpy(array) for array in arrays]
    sizes = [-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in arrays]
    staging = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=True)
    flat, tensors, offset = staging.numpy(), [], 0
    for array, size in zip(arrays, sizes, strict=True):
        flat[offset : offset + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        offset += size
    buffer, offset = staging.to(device, non_blocking=True), 0
    for array, size in zip(arrays, sizes, strict=True):
        part = buffer[offset : offset + array.nbytes]
        tensors.append(part.view(getattr(torch, array.dtype.name)).view(array.shape))
        offset += size
    return tensors


class Download:
    """Tensors on their way to the host; `wait` is the one moment at which the host waits for the device.

    Args:
        tensors: of one device. The copies are queued at once, on its current stream.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._event: torch.cuda.Event | None = None
        self._copies = list(tensors)
        if tensors and tensors[0].is_cuda:
            self._copies = [_pinned(tensor) for tensor in tensors]
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(tensors[0].device))

    def wait(self) -> list[Tensor]:
        """The tensors on the host."""
        if self._event is not None:
            self._event.synchronize()
        return self._copies


def _pinned(tensor: Tensor) -> Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
