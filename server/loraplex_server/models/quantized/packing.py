"""Small integers out of 32-bit words."""

from __future__ import annotations

import torch
from torch import Tensor

WORD = 32  # bits


def unpacked(words: Tensor, bits: int) -> Tensor:
    """Every field of each word, the lowest bits first.

    Args:
        words: int32 `[R, W]`.
        bits: of a field, 4 or 8.

    Returns:
        uint8 `[R, W * 32 / bits]`.
    """
    # A copy, for `contiguous` leaves the strides of a single column as they are. Little-endian, as safetensors are.
    raw = words.clone(memory_format=torch.contiguous_format).view(torch.uint8)
    if bits == 8:
        return raw
    return torch.stack([raw & 15, raw >> 4], dim=2).view(words.shape[0], -1)
