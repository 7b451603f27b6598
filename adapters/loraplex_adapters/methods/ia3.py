"""(IA)3: a factor for each output of a linear, bias included, or for each input of a feed-forward one.

Source: arXiv:2205.05638; PEFT's `Linear.forward` and `IA3Model._check_target_module_feedforward` (tuners/ia3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.plan import Asked, Method, Plans, TermPlan, each
from loraplex_adapters.pattern import pattern_reason

PART = "ia3_l"


def _plan(values: Mapping[str, object], fields: Fields, asked: Sequence[Asked]) -> Plans:
    feedforward = _matcher(fields)

    def site(one: Asked) -> TermPlan:
        if feedforward(one.site.name):
            width = one.site.in_features
            return TermPlan({PART: (1, width)}, "input_scale", (width,), lambda tensors: tensors[PART].reshape(-1))
        width = one.site.out_features
        return TermPlan({PART: (width, 1)}, "output_scale", (width,), lambda tensors: tensors[PART].reshape(-1))

    return Plans(each(asked, site))


def _matcher(fields: Fields) -> Callable[[str], bool]:
    """A string is a regex for the whole name; of a list, PEFT takes each name for the end of one, a dot or none."""
    names = fields.names("feedforward_modules")
    if names is None:
        fields.reasons.append("'feedforward_modules' is missing: PEFT would choose by architecture")
        return lambda name: False
    if isinstance(names, tuple):
        return lambda name: name.endswith(names)
    if reason := pattern_reason(names):
        fields.reasons.append(f"'feedforward_modules' {names!r:.200} {reason}")
        return lambda name: False
    pattern = re.compile(names)
    return lambda name: pattern.fullmatch(name) is not None


IA3 = Method(
    plan=_plan,
    served=frozenset({"feedforward_modules"}),
    harmless={
        "init_ia3_weights": "read by initialisation only",
        "fan_in_fan_out": "PEFT itself sets it to false on an nn.Linear",
    },
)
