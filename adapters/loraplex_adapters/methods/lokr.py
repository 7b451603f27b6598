"""LoKr: a Kronecker product, whose rank is the product of its factors' ranks.

kron(P Q, S T) = kron(P, S) kron(Q, T); a factor that is whole is its product with the identity on its smaller side.
Source: arXiv:2309.14859; PEFT's `LoKrLayer.get_delta_weight` (tuners/lokr/layer.py).
"""

from __future__ import annotations

import numpy as np

from loraplex_adapters.methods.low_rank import LowRank
from loraplex_adapters.methods.product import product


def lokr_update(w1: tuple[np.ndarray, ...], w2: tuple[np.ndarray, ...]) -> LowRank:
    """Each factor is whole, `([rows, columns],)`, or a product, `([rows, r], [r, columns])`."""
    left_1, right_1 = _factors(w1)
    left_2, right_2 = _factors(w2)
    return LowRank(np.kron(right_1, right_2), np.kron(left_1, left_2))


def factor_rank(shapes: tuple[tuple[int, ...], ...]) -> int:
    """The rank of a factor of these shapes."""
    return min(*shapes[0], *shapes[-1])


def _factors(parts: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """One factor as a product with as little rank between as its shapes allow."""
    if len(parts) == 2 and parts[0].shape[1] <= min(parts[0].shape[0], parts[1].shape[1]):
        return parts[0], parts[1]
    whole = parts[0] if len(parts) == 1 else product(*parts)
    rows, columns = whole.shape
    if rows <= columns:
        return np.eye(rows, dtype=whole.dtype), whole
    return whole, np.eye(columns, dtype=whole.dtype)


def factorization(dimension: int, factor: int) -> tuple[int, int]:
    """How PEFT splits a dimension: `factor` and the rest where it divides, else as square as `factor` allows.

    Args:
        dimension: above zero.
        factor: the most that the smaller part may be; -1: no bound.
    """
    if factor > 0 and dimension % factor == 0:
        return factor, dimension // factor
    bound = dimension if factor == -1 else factor
    small, large = 1, dimension
    while small < large:
        above = next(n for n in range(small + 1, dimension + 1) if dimension % n == 0)
        if above + dimension // above > small + large or above > bound:
            break
        small, large = above, dimension // above
    return min(small, large), max(small, large)
