"""OFT: blocks of the input are rotated before they reach the base's weight.

Source: arXiv:2306.07280, arXiv:2506.19847; PEFT's `OFTLayer.update_layer` and `OFTConfig` (tuners/oft).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.plan import Asked, Method, Plans, Tensors, TermPlan, each
from loraplex_adapters.methods.rotate import block_size, project, rotation

PART = "oft_R.weight"
# Since when PEFT's series ends as it does now.
SERIES_SINCE = (0, 18)
MOST_TERMS = 1000  # each is a product; the series has converged, or never will, long before


@dataclass(frozen=True)
class _Options:
    blocks: int  # of these two, one is zero
    size: int
    shared: bool
    bound: float | None  # COFT's eps
    terms: int | None  # of the series; None: the exact transform

    def site(self, asked: Asked) -> TermPlan:
        in_features = asked.site.in_features
        size = block_size(in_features, self.blocks, self.size)
        count = in_features // size

        def build(tensors: Tensors) -> np.ndarray:
            vectors = tensors[PART].astype(np.float64)
            if self.bound is not None:
                vectors = project(vectors, self.bound)
            return np.array(np.broadcast_to(rotation(vectors, size, self.terms), (count, size, size)))

        parts = {PART: (1 if self.shared else count, size * (size - 1) // 2)}
        return TermPlan(parts, "rotation", (count, size, size), build)


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked]) -> Plans:
    blocks = fields.positive("r", 1) if values.get("r") else 0
    size = fields.positive("oft_block_size", 32) if values.get("oft_block_size") else 0
    if "oft_block_size" not in values:
        fields.reasons.append(
            "'oft_block_size' is missing: the file is of PEFT before 0.14, whose OFT was another method"
        )
    elif (blocks == 0) == (size == 0):
        fields.reasons.append("exactly one of 'r' and 'oft_block_size' must be above zero")
    bound = fields.number("eps", 6e-5) if fields.flag("coft") else None
    options = _Options(blocks, size, fields.flag("block_share"), bound, _series(values, fields))
    return Plans({}) if fields.reasons else Plans(each(asked, options.site))


def _series(values: Mapping[str, object], fields: Fields) -> int | None:
    """The number of terms. Before 0.18 the series was another, and nothing but the version says so."""
    if "use_cayley_neumann" not in values:
        fields.reasons.append("'use_cayley_neumann' is missing, so that PEFT of today would rotate by another formula")
    if not fields.flag("use_cayley_neumann"):
        return None
    written = re.match(r"(\d{1,6})\.(\d{1,6})", fields.text("peft_version") or "")
    if written is None or (int(written[1]), int(written[2])) < SERIES_SINCE:
        fields.reasons.append(
            "the file is of PEFT before 0.18, whose Cayley-Neumann series was another, and PEFT of today would rotate "
            "by its own; train it again, or merge it with PEFT 0.17's merge_and_unload"
        )
    terms = fields.positive("num_cayley_neumann_terms", 5)
    if terms > MOST_TERMS:
        fields.reasons.append(f"'num_cayley_neumann_terms' {terms} is more than {MOST_TERMS}")
    return terms


OFT = Method(
    plan=_plan,
    served=frozenset(
        {
            *("r", "oft_block_size", "block_share", "coft", "eps"),
            *("use_cayley_neumann", "num_cayley_neumann_terms"),
        }
    ),
    harmless={
        "module_dropout": "acts in training only",
        "init_weights": "read by initialisation only",
        "fan_in_fan_out": "PEFT itself sets it to false on an nn.Linear",
    },
)
