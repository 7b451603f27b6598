"""LN tuning: some of the norms have weights of their own.

Source: arXiv:2312.11420; PEFT's `LNTuningLayer` (tuners/ln_tuning/layer.py), which keeps a copy of the whole module.
"""

from __future__ import annotations

from loraplex_adapters.computed import Value, computed
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.methods.bound import bind
from loraplex_adapters.methods.keys import unserved
from loraplex_adapters.methods.names import OF_THE_MODEL
from loraplex_adapters.methods.selected import SAVED, beside_values, matching
from loraplex_adapters.recipe import Candidate, Recipe
from loraplex_adapters.term_shape import TermShape
from loraplex_adapters.terms import Traits

KEYS = frozenset({"target_modules", "exclude_modules", SAVED})


def ln_tuning(candidate: Candidate) -> Recipe:
    """Raises AdapterRefusedError with every reason."""
    base, norms = candidate.base, candidate.base.norms
    reasons = list(unserved(candidate.values, KEYS))
    chosen = matching(candidate, norms)
    if others := matching(candidate, [*base.site_by_name, base.embedding.name]):
        reasons.append(f"target_modules select more than norms, as whole copies: {', '.join(others)}")
    if not chosen:
        reasons.append(f"target_modules {candidate.values.get('target_modules')!r:.300} select no norm of this model")
    wanted = {f"{OF_THE_MODEL}{name}.ln_tuning_layers.weight": (norms[name],) for name in chosen}
    bound = bind(candidate, wanted, (), beside_values(candidate), reasons)
    if reasons:
        raise AdapterRefusedError(candidate.name, reasons)
    terms = [
        (TermShape("norm", norm, (norms[norm],), candidate.dtype), _of(bound.names[name]))
        for norm, name in zip(chosen, wanted, strict=True)
    ]
    return bound.whole(computed(bound.candidate, [], terms, Traits(terms=True)))


def _of(name: str) -> Value:
    return lambda tensors, base: tensors[name]
