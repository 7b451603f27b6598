"""Two recipes for one file, each with tensors of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.recipe import Filling, IsBase, Recipe, Room
from loraplex_adapters.terms import Traits


def joined(first: Recipe, second: Recipe) -> Recipe:
    """Both: first's sites and terms before second's, which must be others. Neither may have virtual tokens."""
    sites, terms = len(first.sites), len(first.terms)

    def open_(room: Room, base: BaseWeights) -> Filling:
        fillings = (
            first.open(Room(room.sites[:sites], room.terms[:terms]), base),
            second.open(Room(room.sites[sites:], room.terms[terms:]), base),
        )

        def finish() -> Iterator[str]:
            return chain.from_iterable(filling.finish() for filling in fillings)

        return Filling({**fillings[0].puts, **fillings[1].puts}, finish)

    def settle(is_base: IsBase, base: BaseWeights) -> Recipe:
        found = [one if one.settle is None else one.settle(is_base, base) for one in (first, second)]
        return joined(*found)

    settled = first.settle is None and second.settle is None
    return Recipe(
        (*first.sites, *second.sites),
        (*first.terms, *second.terms),
        _both(first.traits, second.traits),
        open_,
        None if settled else settle,
    )


def renamed(recipe: Recipe, names: Mapping[str, str]) -> Recipe:
    """A recipe that was made for other names of the same tensors.

    Args:
        recipe: that has the other names.
        names: other name -> name in the file.
    """

    def open_(room: Room, base: BaseWeights) -> Filling:
        filling = recipe.open(room, base)

        def finish() -> Iterator[str]:
            return (told(reason, names) for reason in filling.finish())

        return Filling({names.get(name, name): put for name, put in filling.puts.items()}, finish)

    settle: Callable[[IsBase, BaseWeights], Recipe] | None = None
    if (settle_it := recipe.settle) is not None:

        def settle(is_base: IsBase, base: BaseWeights) -> Recipe:
            return renamed(settle_it(is_base, base), names)

    return replace(recipe, open=open_, settle=settle)


def told(reason: str, names: Mapping[str, str]) -> str:
    """A reason with the file's own names; `names` as in `renamed`."""
    for other, name in names.items():
        reason = reason.replace(other, name)
    return reason


def _both(first: Traits, second: Traits) -> Traits:
    return replace(
        second,
        terms=first.terms or second.terms,
        head=first.head or second.head,
        virtual_tokens=first.virtual_tokens + second.virtual_tokens,
    )
