"""The norms that some models lay over each head of q and k."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class HeadNorms(NamedTuple):
    """As `ops.norm.rms_norm` takes them."""

    q: Tensor  # [head_dim]
    k: Tensor  # [head_dim]
    eps: float
    offset: float
