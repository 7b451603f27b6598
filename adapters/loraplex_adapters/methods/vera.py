"""VeRA and PVeRA: two random projections that all linears share, and two vectors of each linear's own.

Source: arXiv:2310.11454, arXiv:2512.07703; PEFT's `VeraModel` and `PveraModel` (tuners/vera, tuners/pvera).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.low_rank import LowRank
from loraplex_adapters.methods.plan import Asked, Method, Plans, Shape, Tensors, UpdatePlan, each


def vera_update(a: np.ndarray, b: np.ndarray, lambda_d: np.ndarray, lambda_b: np.ndarray, in_features: int) -> LowRank:
    """Cut the shared projections to the linear's size and scale them.

    PVeRA draws from a mean and a spread and has both in A and d; what it predicts with is the mean, the first half.

    Args:
        a: `[rank, widest in]`, or twice the rank.
        b: `[widest out, rank]`.
        lambda_d: `[rank]`, or twice the rank.
        lambda_b: `[out]`.
        in_features: of the linear.
    """
    rank = b.shape[1]
    return LowRank(lambda_d[:rank, None] * a[:rank, :in_features], lambda_b[:, None] * b[: len(lambda_b)])


def draw_projections(key: int, a_shape: Shape, b_shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """The projections that PEFT draws from a key where it did not save them: Kaiming's uniform, A before B."""
    generator = torch.Generator(device="cpu").manual_seed(key)
    first, second = (_kaiming_uniform(shape, generator) for shape in (a_shape, b_shape))
    return first, second


def _kaiming_uniform(shape: Shape, generator: torch.Generator) -> np.ndarray:
    bound = math.sqrt(3.0) * (math.sqrt(2) / math.sqrt(shape[1]))
    drawn: np.ndarray = torch.empty(shape).uniform_(-bound, bound, generator=generator).numpy()
    return drawn


@dataclass(frozen=True)
class _Projections:
    """The shared pair, of the file or drawn once for the whole adapter."""

    prefix: str
    a_shape: Shape
    b_shape: Shape
    key: int | None  # None: of the file

    @property
    def shared(self) -> Mapping[str, Shape]:
        if self.key is not None:
            return {}
        return {f"{self.prefix}_A": self.a_shape, f"{self.prefix}_B": self.b_shape}

    @cached_property
    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        return draw_projections(self.key or 0, self.a_shape, self.b_shape)

    def site(self, asked: Asked) -> UpdatePlan:
        d, b = f"{self.prefix}_lambda_d", f"{self.prefix}_lambda_b"
        parts = {d: (self.a_shape[0],), b: (asked.site.out_features,)}

        def build(tensors: Tensors, _: object) -> LowRank:
            pair = self.drawn if self.key is not None else tuple(tensors[name] for name in self.shared)
            return vera_update(pair[0], pair[1], tensors[d], tensors[b], asked.site.in_features)

        return UpdatePlan(parts, asked.rank, 1.0, build)


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked], *, prefix: str, halves: int) -> Plans:
    saved = fields.flag("save_projection") if "save_projection" in values else True
    key = fields.number("projection_prng_key", 0)
    if key != int(key) or not -(2**63) <= key < 2**63:
        fields.reasons.append(f"'projection_prng_key' must be a whole number, found {key:g}")
    if values.get("sample_at_inference"):
        fields.reasons.append("'sample_at_inference' is set: every forward would draw another adapter")
    if not asked or fields.reasons:
        return Plans({})
    rank = asked[0].rank
    widest = max(one.site.in_features for one in asked)
    highest = max(one.site.out_features for one in asked)
    pair = _Projections(prefix, (halves * rank, widest), (highest, rank), None if saved else int(key))
    return Plans(each(asked, pair.site), shared=pair.shared)


def _method(prefix: str, halves: int) -> Method:
    return Method(
        plan=partial(_plan, prefix=prefix, halves=halves),
        served=frozenset({"save_projection", "projection_prng_key", "sample_at_inference"}),
        rank=("r", 256),
        harmless={
            f"{prefix}_dropout": "acts in training only",
            "d_initial": "read by initialisation only",
            "init_weights": "read by initialisation only",
            "fan_in_fan_out": "PEFT itself sets it to false on an nn.Linear",
            "generator_seed": "of draws that inference does not make",
        },
    )


VERA = _method("vera", 1)
PVERA = _method("pvera", 2)
