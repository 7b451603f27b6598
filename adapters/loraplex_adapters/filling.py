"""One pass over the tensor file: every byte hashed, and every weight put where the kernels read it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_adapters import pieces
from loraplex_adapters.base import BaseWeights
from loraplex_adapters.binding import BoundSite
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.generation import ContentHash
from loraplex_adapters.package import Package
from loraplex_adapters.tensor_file import read_pieces, scratch_bytes
from loraplex_kernels.lora import SiteWeights, site_weights


def fill(package: Package, buffer: Tensor, base: BaseWeights) -> str:
    """Read the tensors in the file's order; A is copied, B transposed, both converted to the kernels' dtype.

    Args:
        package: what to read, and where it goes.
        buffer: uint8 `[package.nbytes]` on the CPU. DoRA's magnitudes are put in as the file has them.
        base: asked where the file has a copy of the base's own weight.

    Returns:
        The generation: the hash of everything that was read.

    Raises:
        AdapterRefusedError: a weight is infinite or NaN, or too large for the dtype, or the copy of a base weight
            is not the model's.
        AdapterError: the file changed meanwhile.
        OSError: it cannot be read.
    """
    puts: dict[str, _Put] = {}
    for site, placement in zip(package.bound, package.layout.placements, strict=True):
        puts.update(_puts(site, site_weights(buffer, placement, package.dtype), base))
    scratch = torch.empty(max(scratch_bytes(put.row) for put in puts.values()), dtype=torch.uint8)
    content = ContentHash(package.config)
    content.update(package.header.raw)
    reasons: list[str] = []
    with open(os.path.join(package.source.path, TENSOR_FILE), "rb", buffering=0) as file:
        for spec in package.header.tensors.values():
            put = puts[spec.name]
            try:
                for first, piece in read_pieces(file, spec, put.row, scratch):
                    content.update(piece.view(torch.uint8).numpy().data)
                    put.place(first, piece)
            except _NotTheBaseError as error:
                reasons.append(f"{spec.name} {error}")
            if put.target is not None and not pieces.all_finite(put.target):
                reasons.append(f"{spec.name} holds an infinity or NaN, or a value too large for {package.dtype}")
    if reasons:
        raise AdapterRefusedError(package.source.name, reasons)
    return content.generation()


@dataclass(frozen=True)
class _Put:
    """What to do with the pieces of one tensor."""

    row: int  # elements that must come together
    place: Callable[[int, Tensor], None]  # (index of the first element, elements)
    target: Tensor | None  # what is full afterwards


def _puts(site: BoundSite, weights: SiteWeights, base: BaseWeights) -> Iterator[tuple[str, _Put]]:
    yield site.a.name, _flat(weights.a)
    yield site.b.name, _transposed(weights.b)
    if site.magnitude is not None and weights.magnitude is not None:
        yield site.magnitude.name, _flat(weights.magnitude)
    if site.base is not None:
        yield site.base.name, _compared(lambda: base.site_weight(site.shape.site))


def _flat(target: Tensor) -> _Put:
    line = target.view(-1)

    def place(first: int, piece: Tensor) -> None:
        line[first : first + piece.numel()].copy_(piece)

    return _Put(1, place, target)


def _transposed(target: Tensor) -> _Put:
    rank = target.shape[0]  # of [rank, out]; the file has [out, rank]

    def place(first: int, piece: Tensor) -> None:
        row, count = first // rank, piece.numel() // rank
        target[:, row : row + count].copy_(piece.view(count, rank).t())

    return _Put(rank, place, target)


class _NotTheBaseError(Exception):
    """A copy of the base's own weight that is not the model's."""


def _compared(weight: Callable[[], Tensor]) -> _Put:
    """PEFT saves lm_head's own weight beside its adapter and puts it back on loading: fine if that changes nothing."""
    held: list[Tensor] = []  # the weight, from the first piece to the last

    def place(first: int, piece: Tensor) -> None:
        if not held:
            held.append(weight().reshape(-1))
        ours = held[0][first : first + piece.numel()].cpu()
        if first + piece.numel() == held[0].numel():
            held.clear()
        if not _same(piece, ours):
            held.clear()
            raise _NotTheBaseError(
                "is not this model's own weight: the adapter belongs to another base, or this one is served quantized; "
                "where it belongs to this one, save it with save_embedding_layers=False"
            )

    return _Put(1, place, None)


def _same(file: Tensor, ours: Tensor) -> bool:
    """Equal, but for the rounding of one of them to a narrower dtype."""
    dtypes = (file.dtype, ours.dtype, torch.bfloat16, torch.float16)
    return any(torch.equal(file.to(dtype).float(), ours.to(dtype).float()) for dtype in dtypes)
