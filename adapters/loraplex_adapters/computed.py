"""Recipes whose A, B and terms are not in the file but computed from what is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.courtesy import breathe
from loraplex_adapters.put import Put, kept
from loraplex_adapters.quantizing import fill_rounded
from loraplex_adapters.recipe import Candidate, Filling, Recipe, Room
from loraplex_adapters.tensor_file import DTYPES
from loraplex_adapters.term_shape import TermShape
from loraplex_adapters.terms import Traits
from loraplex_kernels.lora import SiteShape, SiteWeights
from loraplex_kernels.ops.convert import convert

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Array]  # by their names in the file; float32, or integers where the file has such
Update = Callable[[Tensors, BaseWeights], tuple[Array, Array]]  # A [rank, in], and B [out, rank] as PEFT has it
Value = Callable[[Tensors, BaseWeights], Array]  # of the term's shape


def computed(
    candidate: Candidate,
    updates: Sequence[tuple[SiteShape, Update]],
    terms: Sequence[tuple[TermShape, Value]],
    traits: Traits,
) -> Recipe:
    """A recipe that reads tensors to the host as float32, and then computes everything, one site after the other.

    Each function runs on a loader thread and must keep to it: products by `methods.product`, not by torch.

    Args:
        candidate: whose tensors they need, all of them; names and shapes were checked.
        updates: the sites, and what gives each its A and B.
        terms: the terms, and what gives each its values, converted to the term's dtype.
        traits: what the engine has to know.
    """

    sites = candidate.base.sites

    def open_(room: Room, base: BaseWeights) -> Filling:
        puts: dict[str, Put] = {}
        held: dict[str, Tensor] = {}
        for name, spec in candidate.tensors.items():
            puts[name], held[name] = kept(spec.shape, DTYPES[spec.dtype])

        def finish() -> Iterator[str]:
            arrays = {name: tensor.numpy() for name, tensor in held.items()}
            for (shape, update), weights in zip(updates, room.sites, strict=True):
                breathe()
                if not _fill_site(weights, *_quietly(update, arrays, base)):
                    yield f"{sites[shape.site].name}: {_not_finite(weights.a.dtype)}"
            for (term, value), target in zip(terms, room.terms, strict=True):
                breathe()
                if not _fill_term(target, _quietly(value, arrays, base)):
                    of = sites[term.key].name if isinstance(term.key, int) else term.key or term.term
                    yield f"{of}: {_not_finite(target.dtype)}"

        return Filling(puts, finish)

    return Recipe(tuple(shape for shape, _ in updates), tuple(shape for shape, _ in terms), traits, open_)


def _quietly(function: Callable[[Tensors, BaseWeights], Any], arrays: Tensors, base: BaseWeights) -> Any:
    with np.errstate(all="ignore"):  # what overflows is looked for in the result
        return function(arrays, base)


def _fill_site(weights: SiteWeights, a: Array, b: Array) -> bool:
    if weights.factor is not None:
        return fill_rounded(weights, a, b.T)
    filled = [_fill_term(weights.a, a), _fill_term(weights.b, b.T)]
    return all(filled)


def _fill_term(target: Tensor, values: Array) -> bool:
    """Raises ValueError where the values are not of the shape that was promised."""
    if values.shape != target.shape:
        raise ValueError(f"values of shape {values.shape} were computed for {tuple(target.shape)}")
    if target.dtype.is_floating_point:
        source = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        return convert(source.view(1, -1), target.view(1, -1))
    target.numpy()[...] = values
    return True


def _not_finite(dtype: torch.dtype) -> str:
    return f"its update comes to an infinity or NaN, or a value too large for {dtype}"
