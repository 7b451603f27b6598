"""Several small arrays to the device in one copy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Triton compiles a kernel once more for a pointer that 16 does not divide, and would do so in the middle of serving.
ALIGNMENT = 16


def packed(arrays: Sequence[np.ndarray], device: torch.device) -> Tensor:
    """The arrays' bytes on the host, uint8, each array aligned; in pinned memory where a GPU is going to read them."""
    size = sum(_room(array) for array in arrays)
    # Torch keeps pinned blocks and gives one out again only when the copies that read it are done.
    host = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    view, start = host.numpy(), 0
    for array in arrays:
        view[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        start += _room(array)
    return host


def unpacked(data: Tensor, arrays: Sequence[np.ndarray]) -> list[Tensor]:
    """Views of what `packed` made of these arrays, in their shapes and dtypes."""
    views, start = [], 0
    for array in arrays:
        dtype = torch.from_numpy(array).dtype
        views.append(data[start : start + array.nbytes].view(dtype).view(array.shape))
        start += _room(array)
    return views


def upload(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """The arrays as tensors on the device; the host does not wait for the copy. On a CPU they share memory."""
    if device.type == "cpu":
        return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    return unpacked(packed(arrays, device).to(device, non_blocking=True), arrays)


def _room(array: np.ndarray) -> int:
    return -(-array.nbytes // ALIGNMENT) * ALIGNMENT
