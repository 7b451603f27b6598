"""From a method's plans to a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.binding import LARGEST_SCALE
from loraplex_adapters.computed import Tensors, Update, Value, computed
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.beside import saved_names
from loraplex_adapters.methods.biases import bias_term, trained_biases
from loraplex_adapters.methods.bound import bind
from loraplex_adapters.methods.keys import unserved
from loraplex_adapters.methods.low_rank import LARGEST_RANK, LARGEST_UNFOLDED, fold, folded_rank
from loraplex_adapters.methods.names import OF_THE_MODEL, PREFIX
from loraplex_adapters.methods.plan import Method, Plans, Shape, TermPlan, UnservableError, UpdatePlan
from loraplex_adapters.methods.selected import SAVED, SELECTING, beside_values, selected
from loraplex_adapters.recipe import Candidate, MakeRecipe, Recipe
from loraplex_adapters.site import Site
from loraplex_adapters.term_shape import TermShape
from loraplex_adapters.terms import Traits
from loraplex_kernels.lora import SiteShape


def recipe_of(method: Method) -> MakeRecipe:
    """What reads the files of a method that leaves each linear an update or a term."""

    def make(candidate: Candidate) -> Recipe:
        fields = Fields(candidate.values)
        reasons = list(unserved(candidate.values, _known(method)))
        asked = selected(candidate, method, fields)
        if not asked:
            reasons.append(f"target_modules {candidate.values.get('target_modules')!r:.300} select no linear")
        plans = method.plan(candidate.values, fields, asked)
        reasons += fields.reasons
        if reasons:
            raise AdapterRefusedError(candidate.name, reasons)
        return _Planned(candidate, plans).recipe()

    return make


def _known(method: Method) -> frozenset[str]:
    keys = {method.rank, method.alpha} - {None}
    return (
        frozenset({"bias", SAVED})
        | method.served
        | method.harmless.keys()
        | method.patterns
        | set(SELECTING)
        | {key[0] for key in keys if key}
    )


class _Planned:
    """The plans of one adapter, bound to its file."""

    def __init__(self, candidate: Candidate, plans: Plans) -> None:
        self._candidate = candidate
        self._plans = plans
        self._reasons: list[str] = []

    def recipe(self) -> Recipe:
        """Raises AdapterRefusedError with all that does not fit."""
        candidate = self._candidate
        adapted = self._plans.sites.keys()
        biases = trained_biases(candidate, adapted, saved_names(candidate), self._reasons)
        widths = {name: (candidate.base.sites[index].out_features,) for index, name in biases.items()}
        bound = bind(candidate, {**self._wanted(), **widths}, adapted, beside_values(candidate), self._reasons)
        found = bound.names
        self._reasons += self._excesses()
        if self._reasons:
            raise AdapterRefusedError(candidate.name, self._reasons)
        terms = list(self._terms(found))
        terms += [bias_term(candidate, index, found[name]) for index, name in biases.items()]
        head = candidate.base.head.index
        traits = Traits(terms=bool(terms), head=head in self._plans.sites or head in biases)
        return bound.whole(computed(bound.candidate, list(self._updates(found)), terms, traits))

    def _wanted(self) -> dict[str, Shape]:
        wanted: dict[str, Shape] = {f"{PREFIX}{name}": shape for name, shape in self._plans.shared.items()}
        for index, plan in self._plans.sites.items():
            wanted |= {self._full_name(index, part): shape for part, shape in plan.parts.items()}
        return wanted

    def _full_name(self, index: int, part: str) -> str:
        return f"{OF_THE_MODEL}{self._candidate.base.sites[index].name}.{part}"

    def _excesses(self) -> Iterator[str]:
        """Of rank, of scale, and of a rotation's blocks; and nothing at all."""
        for index, plan in self._plans.sites.items():
            site = self._candidate.base.sites[index]
            if isinstance(plan, TermPlan):
                if plan.term == "rotation" and (size := plan.shape[1]) > LARGEST_RANK:
                    yield f"{site.name} is rotated in blocks of {size}, of which at most {LARGEST_RANK} are served"
                continue
            rank = _rank(plan, site) if plan.rank <= LARGEST_UNFOLDED else plan.rank
            if rank > LARGEST_RANK:
                yield (
                    f"the update of {site.name} has rank {rank} as a low-rank one, of which at most {LARGEST_RANK} are "
                    "served; PEFT's save_as_lora makes a LoRA of it, as close as the rank that you give it allows"
                )
            if abs(plan.scale) > LARGEST_SCALE:
                yield f"{site.name} has the scale {plan.scale:g}, which would overflow; look at the alpha"
        if all(isinstance(plan, UpdatePlan) and plan.rank == 0 for plan in self._plans.sites.values()):
            yield "it changes nothing: every rank was pruned away"

    def _updates(self, found: Mapping[str, str]) -> Iterator[tuple[SiteShape, Update]]:
        for index, plan in self._plans.sites.items():
            if isinstance(plan, UpdatePlan) and plan.rank > 0:
                site = self._candidate.base.sites[index]
                shape = SiteShape(index, site.in_features, site.out_features, _rank(plan, site), plan.scale)
                yield shape, self._update(index, plan, found)

    def _update(self, index: int, plan: UpdatePlan, found: Mapping[str, str]) -> Update:
        pick = self._pick(index, plan, found)

        def update(tensors: Tensors, base: BaseWeights) -> tuple[np.ndarray, np.ndarray]:
            try:
                return fold(plan.build(pick(tensors), lambda: base.site_weight(index)))
            except UnservableError as error:
                raise AdapterRefusedError(self._candidate.name, [f"{self._full_name(index, '')}* {error}"]) from error

        return update

    def _terms(self, found: Mapping[str, str]) -> Iterator[tuple[TermShape, Value]]:
        for index, plan in self._plans.sites.items():
            if isinstance(plan, TermPlan):
                yield TermShape(plan.term, index, plan.shape, torch.float32), self._value(index, plan, found)

    def _value(self, index: int, plan: TermPlan, found: Mapping[str, str]) -> Value:
        pick = self._pick(index, plan, found)
        return lambda tensors, base: plan.build(pick(tensors))

    def _pick(self, index: int, plan: UpdatePlan | TermPlan, found: Mapping[str, str]) -> Callable[[Tensors], Tensors]:
        """The tensors of the file by the names that the plan has for them."""
        names = {part: found[self._full_name(index, part)] for part in plan.parts}
        names |= {name: found[f"{PREFIX}{name}"] for name in self._plans.shared}
        return lambda tensors: {part: tensors[name] for part, name in names.items()}


def _rank(plan: UpdatePlan, site: Site) -> int:
    return folded_rank(plan.rank, site.in_features, site.out_features)
