"""Four-bit codes, two a byte."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pack(codes: Tensor) -> Tensor:
    """uint8 `[N, K]`, each below 16, to `[N, ceil(K / 2)]`: an even k in the low half of its byte."""
    if codes.shape[1] % 2:
        codes = F.pad(codes, (0, 1))
    return codes[:, 0::2] | (codes[:, 1::2] << 4)


def unpack(packed: Tensor, inputs: int) -> Tensor:
    """uint8 `[N, ceil(inputs / 2)]` back to uint8 `[N, inputs]`."""
    codes = torch.stack([packed & 15, packed >> 4], dim=2).view(packed.shape[0], -1)
    return codes[:, :inputs]
