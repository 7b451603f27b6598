"""BEFT: a bias for each linear, on top of the base's own if it has one.

Source: PEFT's `Linear.forward` (tuners/beft/layer.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.plan import Asked, Method, Plans, TermPlan, each

PART = "beft_bias"


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked]) -> Plans:
    return Plans(each(asked, _site))


def _site(asked: Asked) -> TermPlan:
    width = asked.site.out_features
    return TermPlan({PART: (1, width)}, "bias", (width,), lambda tensors: tensors[PART].reshape(-1))


BEFT = Method(plan=_plan, harmless={"init_weights": "read by initialisation only"})
