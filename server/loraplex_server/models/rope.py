"""Rotary embedding at run time: a table of cosines and sines, read once a step."""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.ops import gather_angles
from loraplex_server.models.config import RopeConfig

Angles = tuple[Tensor, Tensor]  # cos and sin, float32 [T, rotary_dim / 2] each


class RopeTable:
    """Cosines and sines of every position that can come.

    Computed in float32 as transformers does (LlamaRotaryEmbedding.forward), and kept so whatever the model's dtype.

    Args:
        config: frequencies and scaling.
        length: positions, `DecoderConfig.max_model_len`.
        device: where the table lies.
    """

    def __init__(self, config: RopeConfig, length: int, device: torch.device) -> None:
        inv_freq = torch.tensor(config.inv_freq, dtype=torch.float32)
        angles = torch.arange(length, dtype=torch.float32)[:, None] * inv_freq  # [length, rotary_dim / 2]
        self.cos = (angles.cos() * config.scaling).to(device)
        self.sin = (angles.sin() * config.scaling).to(device)

    def __call__(self, positions: Tensor) -> Angles:
        """Rows of the table for int64 `[T]` positions."""
        return gather_angles(self.cos, self.sin, positions)

    @property
    def nbytes(self) -> int:
        """Bytes of both halves."""
        return self.cos.nbytes + self.sin.nbytes
