"""An adapter cut to what one rank needs of it.

Low rank is cut as the base is. Where the rows of a weight are divided, so are B's, and A is everybody's; where the
columns are, so are A's: every rank adds B of its own part of A x to its part of the output. B is linear, so the sum
over ranks, which the base's output needs anyway, is B of all of A x (S-LoRA, arXiv:2311.03285, section 6).

So are terms. What scales or replaces a part of the output is linear in the base's parts too; what is added to the whole
output is rank 0's to add.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from loraplex_adapters.cut import Cut
from loraplex_adapters.recipe import Recipe, Room
from loraplex_adapters.shard import Shard, SitePart, Span
from loraplex_adapters.site import Site
from loraplex_adapters.term_shape import Term, TermShape
from loraplex_kernels.lora import SiteShape

WHOLE = Cut()
_CHANGES_INPUT: Collection[Term] = ("input_scale", "rotation")


@dataclass(frozen=True)
class Cutting:
    """Args: recipe: of the whole adapter. shard: of the rank."""

    recipe: Recipe
    shard: Shard

    @cached_property
    def sites(self) -> tuple[SiteShape, ...]:
        """The low-rank updates that are left: all of them, some without an output."""
        return tuple(
            replace(
                shape,
                in_features=self._a(shape.site).shape((1, shape.in_features))[1],
                out_features=self._b(shape.site).shape((1, shape.out_features))[1],
            )
            for shape in self.recipe.sites
        )

    @cached_property
    def terms(self) -> tuple[TermShape, ...]:
        """The terms that are left."""
        return tuple(replace(term, shape=cut.shape(term.shape)) for term, cut in self._cuts if cut is not None)

    def reasons(self, sites: Sequence[Site]) -> Iterator[str]:
        """Why it cannot be cut. Args: sites: of the base."""
        for term in self.recipe.terms:
            if term.term not in _CHANGES_INPUT or not isinstance(term.key, int):
                continue
            name, inputs = sites[term.key].name, self._part(term.key).inputs
            if self._is_last(term.key):
                yield (
                    f"the input of {name} is changed, for which every rank would have to score its part of the "
                    "vocabulary once more; lower --tensor-parallel-size"
                )
            elif term.term == "rotation" and inputs is not None and any(at % term.shape[1] for at in inputs):
                yield (
                    f"{name} is rotated in blocks of {term.shape[1]} inputs, and a rank's inputs from "
                    f"{inputs[0]} to {inputs[1]} begin or end within one; lower --tensor-parallel-size"
                )

    def copy(self, whole: Room, part: Room) -> None:
        """Fill the rank's arrays from those of the whole adapter."""
        for shape, source, target in zip(self.recipe.sites, whole.sites, part.sites, strict=True):
            outputs = self._b(shape.site)
            self._a(shape.site).copy(source.a, target.a)
            outputs.copy(source.b, target.b)
            if source.magnitude is not None and target.magnitude is not None:
                outputs.copy(source.magnitude[None], target.magnitude[None])
            if source.factor is not None and target.factor is not None:
                WHOLE.copy(source.factor, target.factor)
        kept = [(cut, source) for (_, cut), source in zip(self._cuts, whole.terms, strict=True) if cut is not None]
        for (cut, values), room in zip(kept, part.terms, strict=True):
            cut.copy(values, room)

    @cached_property
    def _cuts(self) -> tuple[tuple[TermShape, Cut | None], ...]:
        """How each term of the recipe is cut; None: the rank has no use for it."""
        return tuple((term, self._term(term)) for term in self.recipe.terms)

    def _is_last(self, site: int) -> bool:
        """Whether it is the output layer."""
        return site == len(self.shard.sites) - 1

    def _part(self, site: int) -> SitePart:
        if self._is_last(site) and not self.shard.first:
            return SitePart(outputs=())  # rank 0 alone adds to the scores
        return self.shard.sites[site]

    def _a(self, site: int) -> Cut:
        inputs = self._part(site).inputs
        return WHOLE if inputs is None else Cut(1, (inputs,))

    def _b(self, site: int) -> Cut:
        return Cut(1, self._part(site).outputs)

    def _term(self, term: TermShape) -> Cut | None:
        if term.term == "prefix":
            return Cut(2, (self.shard.kv_heads,))
        if term.term in _OF_SITES and isinstance(term.key, int):
            return _OF_SITES[term.term](term, self._part(term.key), self.shard.first)
        return WHOLE  # of norms, and of the embedding: every rank has all of the hidden states


def _added(term: TermShape, part: SitePart, first: bool) -> Cut | None:
    """Where outputs are added up, what is added to them is so once."""
    return Cut(0, part.outputs) if part.inputs is None or first else None


def _of_outputs(term: TermShape, part: SitePart, first: bool) -> Cut | None:
    return Cut(0, part.outputs)


def _of_inputs(term: TermShape, part: SitePart, first: bool) -> Cut | None:
    return _inputs(0, part.inputs, 1)


def _rotation(term: TermShape, part: SitePart, first: bool) -> Cut | None:
    return _inputs(0, part.inputs, term.shape[1])


def _weight(term: TermShape, part: SitePart, first: bool) -> Cut | None:
    return Cut(0, part.outputs) if part.inputs is None else _inputs(1, part.inputs, 1)


def _inputs(axis: int, inputs: Span | None, size: int) -> Cut:
    return WHOLE if inputs is None else Cut(axis, ((inputs[0] // size, inputs[1] // size),))


_OF_SITES: Mapping[Term, Callable[[TermShape, SitePart, bool], Cut | None]] = {
    "bias": _added,
    "output_scale": _of_outputs,
    "input_scale": _of_inputs,
    "rotation": _rotation,
    "weight": _weight,
}
