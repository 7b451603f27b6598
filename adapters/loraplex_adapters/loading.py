"""An adapter from its files to one flat buffer, ready for the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.filling import fill
from loraplex_adapters.package import Package, inspect
from loraplex_adapters.recipe import room_in
from loraplex_adapters.source import AdapterSource
from loraplex_adapters.term_shape import assemble
from loraplex_adapters.terms import Terms, Traits
from loraplex_adapters.transfer import Transfer, host_buffer, send
from loraplex_kernels.lora import AdapterLayout


@dataclass(frozen=True)
class LoadedAdapter:
    """What the table needs, once the transfer is done."""

    generation: str  # hash of the content
    layout: AdapterLayout
    transfer: Transfer
    magnitude: bool  # it has DoRA magnitudes
    touches: frozenset[int]  # indices of the sites with low-rank updates
    terms: Terms = field(default_factory=Terms)  # views of the transfer's buffer
    traits: Traits = field(default_factory=Traits)
    number: int = 0  # under which other ranks keep their parts of it

    @property
    def buffer(self) -> Tensor:
        """Uint8 `[layout.nbytes]` on the device."""
        return self.transfer.buffer


def load(
    package: Package, device: torch.device, base: BaseWeights, allocate: Callable[[int], Tensor] | None = None
) -> LoadedAdapter:
    """Read the weights: one pass over the file, one buffer of the adapter's true size, one copy to the device.

    Everything runs on the calling thread, in pieces that leave the interpreter lock and the other cores free.

    Args:
        package: from `inspect`.
        device: where the buffer goes.
        base: its weights, for what is computed or compared.
        allocate: gives uint8 `[n]` on the host; without it, it is new memory.

    Raises:
        AdapterRefusedError: a weight cannot be served exactly.
        AdapterError: the files changed since they were inspected.
        OSError: a file cannot be read.
    """
    package = package.settle(base)
    host = host_buffer(package.nbytes, device) if allocate is None else allocate(package.nbytes)
    cutting, recipe = package.cutting, package.recipe
    whole = host if cutting is None else torch.empty(package.layout.nbytes, dtype=torch.uint8)
    try:
        generation = fill(package, whole, base)
    except AdapterRefusedError:
        package.require_unchanged()  # what is wrong with it may be that it is only half written
        raise
    package.require_unchanged()
    terms = recipe.terms
    if cutting is not None:
        terms = cutting.terms
        cutting.copy(
            room_in(whole, package.layout, recipe.terms, package.dtype),
            room_in(host, package.kept, terms, package.dtype),
        )
    transfer = send(host, device)
    room = room_in(transfer.buffer, package.kept, terms, package.dtype)
    return LoadedAdapter(
        generation=generation,
        layout=package.kept,
        transfer=transfer,
        magnitude=any(site.magnitude for site in recipe.sites),
        touches=frozenset(site.site for site in recipe.sites),
        terms=assemble(terms, room.terms),
        traits=recipe.traits,
    )


def read(
    source: AdapterSource,
    dtype: torch.dtype,
    device: torch.device,
    base: BaseWeights,
    *,
    int8: bool = False,
) -> LoadedAdapter:
    """`inspect` and `load` in one."""
    return load(inspect(source, base.shape, dtype, base, int8=int8), device, base)
