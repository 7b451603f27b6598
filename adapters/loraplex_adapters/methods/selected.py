"""The linears that a config which is not LoRA's selects, by the rules that PEFT has for all methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.plan import Asked, Method
from loraplex_adapters.peft_config import parse_lora
from loraplex_adapters.recipe import Candidate
from loraplex_adapters.site import Site
from loraplex_adapters.targets import select_targets

SELECTING = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")
SAVED = "modules_to_save"  # whose modules PEFT keeps every method away from


def selected(candidate: Candidate, method: Method, fields: Fields) -> Sequence[Asked]:
    """The linears, with the rank and alpha that the method's patterns give them.

    They are read as those of a LoRA with the same keys: PEFT has one `check_target_module_exists` for all methods.

    Raises:
        AdapterRefusedError: the selection makes no sense.
    """
    values = candidate.values
    rank = 1 if method.rank is None else fields.positive(*method.rank)
    alpha = float(rank) if method.alpha is None else fields.number(*method.alpha)
    as_lora: dict[str, object] = {key: values[key] for key in (*SELECTING, SAVED, *method.patterns) if key in values}
    as_lora |= {"peft_type": "LORA", "r": rank, "lora_alpha": alpha}
    config = parse_lora(candidate.name, as_lora)
    targets = select_targets(config, candidate.base.sites)
    return tuple(Asked(target.site, target.rank, target.scale * target.rank) for target in targets)


def beside_values(candidate: Candidate) -> Mapping[str, object]:
    """The keys of the config that say what was trained beside the method's own parts."""
    return {SAVED: candidate.values[SAVED]} if candidate.values.get(SAVED) else {}


def matching(candidate: Candidate, names: Iterable[str]) -> list[str]:
    """Those of some modules' names that the config selects; for the methods that are not for linears.

    Raises:
        AdapterRefusedError: the selection makes no sense.
    """
    as_lora: dict[str, object] = {key: candidate.values[key] for key in (*SELECTING, SAVED) if key in candidate.values}
    config = parse_lora(candidate.name, {"peft_type": "LORA", **as_lora})
    return [target.site.name for target in select_targets(config, [Site(0, name, 1, 1) for name in names])]
