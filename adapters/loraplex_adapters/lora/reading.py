"""One reading of a LoRA file into an adapter's buffer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.binding import BoundSite
from loraplex_adapters.dora import norms
from loraplex_adapters.lora.bound_term import BoundTerm
from loraplex_adapters.pieces import all_finite
from loraplex_adapters.put import Put, flat, skipped, transposed
from loraplex_adapters.quantizing import Staging, as_served
from loraplex_adapters.recipe import Filling, Room
from loraplex_adapters.tensor_file import TensorSpec
from loraplex_kernels.lora import SiteWeights

Pair = tuple[TensorSpec, TensorSpec]


def open_reading(
    sites: Sequence[BoundSite],
    terms: Sequence[BoundTerm],
    unused: Sequence[str],
    equal: Sequence[Pair],
    room: Room,
    base: BaseWeights,
) -> Filling:
    """Where every tensor goes.

    Args:
        sites: the low-rank updates.
        terms: the rest.
        unused: tensors that nobody needs.
        equal: pairs that must hold the same, because PEFT loads both into one place.
        room: of the sites and terms.
        base: its weights.
    """
    puts: dict[str, Put] = {name: skipped() for name in unused}
    staging = Staging(room.sites)
    for site, weights in zip(sites, room.sites, strict=True):
        puts.update(_puts(site, weights, staging))
    fillers = [term.fill(target, base) for term, target in zip(terms, room.terms, strict=True)]
    for filler in fillers:
        for name, put in filler.puts.items():
            puts[name] = _both(puts[name], put) if name in puts and name not in unused else put
    hashes = {spec.name: hashlib.sha256() for pair in equal for spec in pair}
    for name, content in hashes.items():
        puts[name] = _hashed(puts.get(name, skipped()), content)

    def finish() -> Iterator[str]:
        for first, second in equal:
            if hashes[first.name].digest() != hashes[second.name].digest():
                yield f"{first.name} and {second.name} differ, but PEFT loads both into one weight"
        for filler in fillers:
            yield from filler.finish()
        yield from _divide_by_norms(sites, room, base)

    return Filling(puts, finish)


def _puts(site: BoundSite, weights: SiteWeights, staging: Staging) -> Iterator[tuple[str, Put]]:
    yield site.a.name, staging.put(flat, weights.a, weights.factor)
    yield site.b.name, staging.put(transposed, weights.b, weights.factor)
    if site.magnitude is not None and weights.magnitude is not None:
        yield site.magnitude.name, flat(weights.magnitude)


def _both(first: Put, second: Put) -> Put:
    """One tensor that goes to two places."""

    def place(start: int, piece: Tensor) -> bool:
        placed = first.place(start, piece), second.place(start, piece)
        return all(placed)

    return Put(max(first.row, second.row), place, second.dtype)


def _hashed(put: Put, content: Any) -> Put:
    def place(first: int, piece: Tensor) -> bool:
        content.update(piece.view(torch.uint8).numpy().data)
        return put.place(first, piece)

    return Put(put.row, place, put.dtype)


def _divide_by_norms(sites: Sequence[BoundSite], room: Room, base: BaseWeights) -> Iterator[str]:
    """Turn DoRA's m into m / ||W + scale B A||, with A and B as they are served, one site's W at a time."""
    for site, weights in zip(sites, room.sites, strict=True):
        if weights.magnitude is None:
            continue
        magnitude = weights.magnitude.numpy()
        found = norms(base.site_weight(site.shape.site), *as_served(weights), weights.scale).numpy()
        with np.errstate(divide="ignore", invalid="ignore"):  # looked for below, in the result
            np.divide(magnitude, found, out=magnitude)
        if not all_finite(weights.magnitude):
            yield f"{site.name} has an output whose weights are all zero, so that DoRA divides by zero"
