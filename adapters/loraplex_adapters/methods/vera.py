"""VeRA and PVeRA: two random projections that all linears share, and two vectors of each linear's own.

Source: arXiv:2310.11454, arXiv:2512.07703; PEFT's `VeraModel` and `PveraModel` (tuners/vera, tuners/pvera).
"""

from __future__ import annotations

import math

import numpy as np
import torch

from loraplex_adapters.methods.low_rank import LowRank


def vera_update(a: np.ndarray, b: np.ndarray, lambda_d: np.ndarray, lambda_b: np.ndarray, in_features: int) -> LowRank:
    """Cut the shared projections to the linear's size and scale them.

    PVeRA draws a mean and a spread and has both in A and d; what it predicts with is the mean, the first half.

    Args:
        a: `[rank, widest in]`, or twice the rank.
        b: `[widest out, rank]`.
        lambda_d: `[rank]`, or twice the rank.
        lambda_b: `[out]`.
        in_features: of the linear.
    """
    rank = b.shape[1]
    return LowRank(lambda_d[:rank, None] * a[:rank, :in_features], lambda_b[:, None] * b[: len(lambda_b)])


def draw_projections(key: int, a_shape: tuple[int, int], b_shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The projections that PEFT draws from a key where it did not save them: Kaiming's uniform, A before B."""
    generator = torch.Generator(device="cpu").manual_seed(key)
    first, second = (_kaiming_uniform(shape, generator) for shape in (a_shape, b_shape))
    return first, second


def _kaiming_uniform(shape: tuple[int, int], generator: torch.Generator) -> np.ndarray:
    bound = math.sqrt(3.0) * (math.sqrt(2) / math.sqrt(shape[1]))
    drawn: np.ndarray = torch.empty(shape).uniform_(-bound, bound, generator=generator).numpy()
    return drawn
