"""An adapter from its files to one flat buffer, ready for the table."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.dora import norms
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.filling import fill
from loraplex_adapters.package import Package, inspect
from loraplex_adapters.pieces import all_finite
from loraplex_adapters.source import AdapterSource
from loraplex_adapters.terms import Terms, Traits
from loraplex_adapters.transfer import Transfer, host_buffer, send
from loraplex_kernels.lora import AdapterLayout, site_weights


@dataclass(frozen=True)
class LoadedAdapter:
    """What the table needs, once the transfer is done."""

    generation: str  # hash of the content
    layout: AdapterLayout
    transfer: Transfer
    magnitude: bool  # it has DoRA magnitudes
    touches: frozenset[int]  # indices of the sites
    terms: Terms = field(default_factory=Terms)  # views of the transfer's buffer
    traits: Traits = field(default_factory=Traits)

    @property
    def buffer(self) -> Tensor:
        """Uint8 `[layout.nbytes]` on the device."""
        return self.transfer.buffer


def load(package: Package, device: torch.device, base: BaseWeights) -> LoadedAdapter:
    """Read the weights: one pass over the file, one buffer of the adapter's true size, one copy to the device.

    Everything runs on the calling thread, in pieces that leave the interpreter lock and the other cores free.

    Args:
        package: from `inspect`.
        device: where the buffer goes.
        base: its weights, for DoRA's norms.

    Raises:
        AdapterRefusedError: a weight cannot be served exactly.
        AdapterError: the files changed since they were inspected.
        OSError: a file cannot be read.
    """
    host = host_buffer(package.nbytes, device)
    try:
        generation = fill(package, host, base)
    except AdapterRefusedError:
        package.require_unchanged()  # what is wrong with it may be that it is only half written
        raise
    package.require_unchanged()
    _divide_by_norms(package, host, base)
    return LoadedAdapter(
        generation=generation,
        layout=package.layout,
        transfer=send(host, device),
        magnitude=any(site.shape.magnitude for site in package.bound),
        touches=frozenset(site.shape.site for site in package.bound),
    )


def read(
    source: AdapterSource,
    dtype: torch.dtype,
    device: torch.device,
    base: BaseWeights,
) -> LoadedAdapter:
    """`inspect` and `load` in one."""
    return load(inspect(source, base.shape, dtype), device, base)


def _divide_by_norms(package: Package, host: Tensor, base: BaseWeights) -> None:
    """Turn DoRA's m into m / ||W + scale B A||, with A and B as they are served, one site's W at a time."""
    reasons = []
    for site, placement in zip(package.bound, package.layout.placements, strict=True):
        weights = site_weights(host, placement, package.dtype)
        if weights.magnitude is None:
            continue
        magnitude = weights.magnitude.numpy()
        found = norms(base.site_weight(site.shape.site), weights.a, weights.b, weights.scale).numpy()
        with np.errstate(divide="ignore", invalid="ignore"):  # looked for below, in the result
            np.divide(magnitude, found, out=magnitude)
        if not all_finite(weights.magnitude):
            reasons.append(f"{site.name} has an output whose weights are all zero, so that DoRA divides by zero")
    if reasons:
        raise AdapterRefusedError(package.source.name, reasons)
