"""How a method's files become low-rank updates and terms: known in numbers first, filled in later.

A method reads an adapter's config and the header of its tensors, and answers with a recipe: everything that decides the
adapter's size, and how to fill its buffer. So the budget is asked before a weight is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_adapters.base import BaseShape, BaseWeights
from loraplex_adapters.put import Put
from loraplex_adapters.tensor_file import TensorSpec
from loraplex_adapters.term_shape import TermShape
from loraplex_adapters.terms import Traits
from loraplex_kernels.lora import AdapterLayout, SiteShape, SiteWeights, site_weights


@dataclass(frozen=True)
class Candidate:
    """An adapter of which the config and the header of the tensors were read.

    Args:
        name: for messages.
        values: of adapter_config.json.
        tensors: of the file, by name, in its order.
        base: what there is to bind to.
        dtype: of A and B in memory, and of weights, rows and norms among the terms.
    """

    name: str
    values: Mapping[str, object]
    tensors: Mapping[str, TensorSpec]
    base: BaseShape
    dtype: torch.dtype


@dataclass(frozen=True)
class Room:
    """The arrays of a buffer on the host, to be filled; each belongs to the shape of the same place in the recipe."""

    sites: tuple[SiteWeights, ...]
    terms: tuple[Tensor, ...]


@dataclass(frozen=True)
class Filling:
    """One reading of the file.

    Args:
        puts: by tensor, for all of them.
        finish: what is computed once everything was read; gives a reason for whatever cannot be served exactly.
    """

    puts: Mapping[str, Put]
    finish: Callable[[], Iterable[str]] = tuple


# Whether a tensor of the file says what the base has; the second is the base's, asked for only when it is compared.
IsBase = Callable[[TensorSpec, Callable[[], Tensor]], bool]


@dataclass(frozen=True)
class Recipe:
    """What an adapter comes to.

    Args:
        sites: the low-rank updates; none are needed.
        terms: the rest, in the order of the buffer.
        traits: what the engine has to know.
        open: begins a reading of the file into the room, on a loader thread. It may ask the base for its weights.
        settle: the recipe without what turns out to be the base's own; None where nothing in the file can be.
    """

    sites: tuple[SiteShape, ...]
    terms: tuple[TermShape, ...]
    traits: Traits
    open: Callable[[Room, BaseWeights], Filling]
    settle: Callable[[IsBase, BaseWeights], Recipe] | None = None


# A method: raises AdapterRefusedError with every reason why an adapter cannot be served exactly.
MakeRecipe = Callable[[Candidate], Recipe]


def room_in(buffer: Tensor, layout: AdapterLayout, terms: Iterable[TermShape], dtype: torch.dtype) -> Room:
    """The arrays as views of a buffer, uint8 `[layout.nbytes]`."""
    return Room(
        sites=tuple(site_weights(buffer, placement, dtype) for placement in layout.placements),
        terms=tuple(
            buffer[offset : offset + term.nbytes].view(term.dtype).view(term.shape)
            for term, offset in zip(terms, layout.others, strict=True)
        ),
    )
