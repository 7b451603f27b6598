"""LoKr: a Kronecker product, whose rank is the product of its factors' ranks.

kron(P Q, S T) = kron(P, S) kron(Q, T); a factor that is whole is its product with the identity on its smaller side.
Source: arXiv:2309.14859; PEFT's `LoKrLayer.get_delta_weight` (tuners/lokr/layer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.low_rank import LowRank
from loraplex_adapters.methods.lycoris import HARMLESS
from loraplex_adapters.methods.plan import Asked, Method, Plans, Shape, UpdatePlan, each
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


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked]) -> Plans:
    both = fields.flag("decompose_both")
    factor = fields.number("decompose_factor", -1)
    if factor != int(factor) or (factor < 1 and factor != -1):
        fields.reasons.append(f"'decompose_factor' must be a whole number above zero, or -1, found {factor:g}")
        return Plans({})
    return Plans(each(asked, lambda one: _site(one, both, int(factor))))


def _site(asked: Asked, both: bool, factor: int) -> UpdatePlan:
    """Whether PEFT keeps a factor whole hangs on the rank: below half of its longer side it is a product."""
    r = asked.rank
    columns = factorization(asked.site.in_features, factor)
    rows = factorization(asked.site.out_features, factor)
    whole_1 = not (both and r < max(rows[0], columns[0]) / 2)
    whole_2 = not r < max(rows[1], columns[1]) / 2
    w1 = _shapes("lokr_w1", rows[0], columns[0], None if whole_1 else r)
    w2 = _shapes("lokr_w2", rows[1], columns[1], None if whole_2 else r)
    rank = factor_rank(tuple(w1.values())) * factor_rank(tuple(w2.values()))
    return UpdatePlan(
        {**w1, **w2},
        rank,
        asked.alpha / r,
        lambda tensors, _: lokr_update(tuple(tensors[name] for name in w1), tuple(tensors[name] for name in w2)),
    )


def _shapes(name: str, rows: int, columns: int, r: int | None) -> Mapping[str, Shape]:
    if r is None:
        return {name: (rows, columns)}
    return {f"{name}_a": (rows, r), f"{name}_b": (r, columns)}


LOKR = Method(
    plan=_plan,
    served=frozenset({"decompose_both", "decompose_factor"}),
    rank=("r", 8),
    alpha=("alpha", 8),
    patterns=frozenset({"rank_pattern", "alpha_pattern"}),
    harmless={**HARMLESS, "rank_dropout_scale": "acts in training only"},
)
