"""A LoRA adapter's files as a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from torch import Tensor

from loraplex_adapters.base import BaseShape, BaseWeights
from loraplex_adapters.binding import BoundSite, bind
from loraplex_adapters.dora import norms
from loraplex_adapters.lora.bound_term import BoundTerm, copied
from loraplex_adapters.peft_config import parse_lora
from loraplex_adapters.pieces import all_finite
from loraplex_adapters.put import Put, flat, skipped, transposed
from loraplex_adapters.quantizing import Staging, as_served
from loraplex_adapters.recipe import Candidate, Filling, IsBase, Recipe, Room
from loraplex_adapters.term_shape import TermShape
from loraplex_adapters.terms import Traits
from loraplex_kernels.lora import SiteWeights


def lora_recipe(candidate: Candidate) -> Recipe:
    """What a LoRA adapter comes to.

    Raises:
        AdapterRefusedError: with every reason why it cannot be served exactly.
    """
    config = parse_lora(candidate.name, candidate.values)
    sites = bind(candidate.name, candidate.tensors, config, candidate.base.sites)
    terms = [
        copied(
            TermShape("weight", site.shape.site, site.base.shape, candidate.dtype),
            site.base,
            partial(_site_weight, site.shape.site),
        )
        for site in sites
        if site.base is not None
    ]
    return _Lora(candidate.base, Traits()).recipe(sites, terms)


def _site_weight(index: int, base: BaseWeights) -> Tensor:
    return base.site_weight(index)


class _Lora:
    """Args: base: what it binds to. traits: those that do not follow from the terms."""

    def __init__(self, base: BaseShape, traits: Traits) -> None:
        self._base = base
        self._traits = traits

    def recipe(self, sites: Sequence[BoundSite], terms: Sequence[BoundTerm], unused: Iterable[str] = ()) -> Recipe:
        """Args: unused: tensors of the file that say what the base says."""
        settled = any(term.original for term in terms)
        return Recipe(
            sites=tuple(site.shape for site in sites),
            terms=tuple(term.shape for term in terms),
            traits=self._traits_of(terms),
            open=partial(_open, sites, terms, tuple(unused)),
            settle=partial(self._settle, sites, terms) if settled else None,
        )

    def _traits_of(self, terms: Sequence[BoundTerm]) -> Traits:
        head = self._base.head.index
        return replace(
            self._traits,
            terms=bool(terms),
            head=any(term.shape.key == head or term.shape.term == "output_tokens" for term in terms),
        )

    def _settle(
        self, sites: Sequence[BoundSite], terms: Sequence[BoundTerm], is_base: IsBase, base: BaseWeights
    ) -> Recipe:
        same = {
            term.original.spec.name
            for term in terms
            if term.original is not None and is_base(term.original.spec, partial(term.original.base, base))
        }
        needed = [
            replace(term, original=None)
            for term in terms
            if term.original is None or term.original.spec.name not in same
        ]
        return self.recipe(sites, needed, same)


def _open(
    sites: Sequence[BoundSite], terms: Sequence[BoundTerm], unused: Sequence[str], room: Room, base: BaseWeights
) -> Filling:
    puts: dict[str, Put] = {name: skipped() for name in unused}
    staging = Staging(room.sites)
    for site, weights in zip(sites, room.sites, strict=True):
        puts.update(_puts(site, weights, staging))
    fillers = [term.fill(target, base) for term, target in zip(terms, room.terms, strict=True)]
    for filler in fillers:
        puts.update(filler.puts)
    own = {
        term.shape.key: target
        for term, target in zip(terms, room.terms, strict=True)
        if term.shape.term in ("weight", "tied")
    }

    def weight_of(index: int) -> Tensor:
        return own[index] if index in own else base.site_weight(index)

    def finish() -> Iterator[str]:
        for filler in fillers:
            yield from filler.finish()
        yield from _divide_by_norms(sites, room, weight_of)

    return Filling(puts, finish)


def _puts(site: BoundSite, weights: SiteWeights, staging: Staging) -> Iterator[tuple[str, Put]]:
    yield site.a.name, staging.put(flat, weights.a, weights.factor)
    yield site.b.name, staging.put(transposed, weights.b, weights.factor)
    if site.magnitude is not None and weights.magnitude is not None:
        yield site.magnitude.name, flat(weights.magnitude)


def _divide_by_norms(sites: Sequence[BoundSite], room: Room, weight_of: Callable[[int], Tensor]) -> Iterator[str]:
    """Turn DoRA's m into m / ||W + scale B A||, with A and B as they are served, one site's W at a time."""
    for site, weights in zip(sites, room.sites, strict=True):
        if weights.magnitude is None:
            continue
        magnitude = weights.magnitude.numpy()
        found = norms(weight_of(site.shape.site), *as_served(weights), weights.scale).numpy()
        with np.errstate(divide="ignore", invalid="ignore"):  # looked for below, in the result
            np.divide(magnitude, found, out=magnitude)
        if not all_finite(weights.magnitude):
            yield f"{site.name} has an output whose weights are all zero, so that DoRA divides by zero"
