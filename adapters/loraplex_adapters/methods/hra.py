"""HRA: the input is reflected r times before it reaches the base's weight.

With H = (I - 2 u1 u1')...(I - 2 ur ur'), the update is W (H - I). Multiplied out from the left, H - I = -2 V T V',
where V holds the unit vectors and T is upper triangular: column k is e_k - 2 sum_j<k (uj . uk) T_j. So A = V' and
B = -2 (W V) T: rank r, with the base's weight read once, at load.
Source: arXiv:2405.17484; PEFT's `HRALayer.get_delta_weight` (tuners/hra/layer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.low_rank import LowRank
from loraplex_adapters.methods.plan import Asked, Method, Plans, UnservableError, UpdatePlan, each
from loraplex_adapters.methods.product import product, weight_times

# Of a vector's length, what those before it leave of it at least: float32's rounding is a thousandth of that.
DEPENDENT = 1e-4


def hra_update(u: np.ndarray, weight: Tensor, gram_schmidt: bool) -> LowRank:
    """Args: u: `[in, r]`. weight: the base's `[out, in]`. gram_schmidt: PEFT's apply_GS."""
    unit = _orthonormal(u.astype(np.float64)) if gram_schmidt else u / np.linalg.norm(u.astype(np.float64), axis=0)
    overlaps = product(np.ascontiguousarray(unit.T), unit)
    triangle = np.eye(u.shape[1])
    for k in range(1, u.shape[1]):
        triangle[:, k] -= 2 * triangle[:, :k] @ overlaps[:k, k]
    narrow = unit.astype(np.float32)
    turned = product(weight_times(weight, narrow), (-2 * triangle).astype(np.float32))
    return LowRank(np.ascontiguousarray(narrow.T), turned)


def _orthonormal(u: np.ndarray) -> np.ndarray:
    """What Gram-Schmidt makes of the vectors, but for signs, which no reflection sees.

    Raises:
        UnservableError: they are so nearly dependent that PEFT's own result is its rounding.
    """
    found, triangle = np.linalg.qr(u)
    if (np.abs(np.diag(triangle)) < DEPENDENT * np.linalg.norm(u, axis=0)).any():
        raise UnservableError("has vectors that depend on one another, which apply_GS divides by the rounding of")
    return found


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked]) -> Plans:
    gram_schmidt = fields.flag("apply_GS")

    def site(one: Asked) -> UpdatePlan:
        parts = {"hra_u": (one.site.in_features, one.rank)}
        return UpdatePlan(
            parts, one.rank, 1.0, lambda tensors, weight: hra_update(tensors["hra_u"], weight(), gram_schmidt)
        )

    return Plans(each(asked, site))


HRA = Method(
    plan=_plan,
    served=frozenset({"apply_GS"}),
    rank=("r", 8),
    harmless={"init_weights": "read by initialisation only"},
)
