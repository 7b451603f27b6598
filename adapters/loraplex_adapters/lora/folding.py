"""Tables of the vocabulary with their updates multiplied out, where they cannot stay low-rank.

Two cases, both rare: LoRA on an output layer that the adapter has a weight of its own for, whose outputs the kernels
know nothing of; and DoRA on the embedding, which scales whole columns of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from loraplex_adapters import pieces
from loraplex_adapters.base import BaseWeights
from loraplex_adapters.binding import BoundSite
from loraplex_adapters.courtesy import breathe
from loraplex_adapters.dora import ONE_THREAD
from loraplex_adapters.lora.bound_term import BoundTerm, Filler
from loraplex_adapters.lora.embedding import BoundEmbedding
from loraplex_adapters.put import Put, flat, kept
from loraplex_adapters.tensor_file import FLOATS, TensorSpec
from loraplex_adapters.term_shape import TermShape
from loraplex_kernels.ops.convert import convert

Array = np.ndarray
Update = Callable[[slice], Array]  # of some rows of the table, float32


def folded_head(shape: TermShape, weight: TensorSpec, site: BoundSite) -> BoundTerm:
    """`m / ||V|| * V` of V = W + scale B A, where W is the file's; without DoRA, V itself."""
    specs = tuple(spec for spec in (site.a, site.b, site.magnitude) if spec is not None)

    def fill(target: Tensor, base: BaseWeights) -> Filler:
        puts, held = _kept(specs)

        def finish() -> Iterator[str]:
            a, b = held[site.a.name], held[site.b.name]
            magnitude = None if site.magnitude is None else held[site.magnitude.name]

            def row_scale(whole: Array, rows: slice) -> Array:
                lengths = np.sqrt(np.einsum("ij,ij->i", whole, whole))
                scaled: Array = whole * (magnitude[rows] / lengths)[:, None] if magnitude is not None else whole
                return scaled

            yield from _rewrite(
                target, target, lambda rows: site.shape.scale * b[rows] @ a, row_scale, site.name, len(a)
            )

        return Filler({**puts, weight.name: flat(target)}, finish)

    return BoundTerm(shape, (weight, *specs), fill)


def folded_embedding(shape: TermShape, table: TensorSpec | None, bound: BoundEmbedding, name: str) -> BoundTerm:
    """`m / ||V|| * V` of V = W + scale (B A)', whose norms are over the columns.

    Args:
        shape: of the result.
        table: the file's own W; None: the base's.
        bound: the update.
        name: of the embedding, for messages.
    """
    specs = tuple(spec for spec in (bound.a, bound.b, bound.magnitude) if spec is not None)

    def fill(target: Tensor, base: BaseWeights) -> Filler:
        puts, held = _kept(specs)

        def finish() -> Iterator[str]:
            a, b = held[bound.a.name], np.ascontiguousarray(held[bound.b.name].T)
            source = base.embedding_rows(0, target.shape[0]) if table is None else target
            squares = np.zeros(target.shape[1])

            def update(rows: slice) -> Array:
                found: Array = bound.scale * np.ascontiguousarray(a[:, rows].T) @ b
                return found

            for rows in _blocks(target, len(a)):
                whole = _float32(source[rows]) + update(rows)
                squares += np.einsum("ij,ij->j", whole, whole)
            factor = np.ones(target.shape[1], dtype=np.float32)
            if bound.magnitude is not None:
                with np.errstate(divide="ignore", invalid="ignore"):
                    factor = (held[bound.magnitude.name] / np.sqrt(squares)).astype(np.float32)
            yield from _rewrite(target, source, update, lambda whole, rows: whole * factor, name, len(a))

        return Filler(puts if table is None else {**puts, table.name: flat(target)}, finish)

    return BoundTerm(shape, (*specs, *(() if table is None else (table,))), fill)


def _rewrite(
    target: Tensor, source: Tensor, update: Update, scale: Callable[[Array, slice], Array], name: str, rank: int
) -> Iterator[str]:
    finite = True
    for rows in _blocks(target, rank):
        breathe()
        with np.errstate(all="ignore"):  # looked for in the result
            whole = scale(_float32(source[rows]) + update(rows), rows)
        finite &= convert(torch.from_numpy(np.ascontiguousarray(whole, dtype=np.float32)), target[rows])
    if not finite:
        yield f"{name} comes to an infinity or NaN, or a value too large for {target.dtype}, with its update"


def _blocks(table: Tensor, rank: int) -> Iterator[slice]:
    """Rows so few that numpy and torch compute them on the calling thread."""
    width = table.shape[1]
    step = max(1, min(pieces.PIECE // width, ONE_THREAD // (rank * width)))
    return (slice(first, first + step) for first in range(0, table.shape[0], step))


def _kept(specs: tuple[TensorSpec, ...]) -> tuple[dict[str, Put], dict[str, Array]]:
    puts: dict[str, Put] = {}
    held: dict[str, Array] = {}
    for spec in specs:
        put, whole = kept(spec.shape, FLOATS[spec.dtype])
        puts[spec.name], held[spec.name] = put, whole.numpy()
    return puts, held


def _float32(rows: Tensor) -> Array:
    wide: Array = rows.detach().cpu().to(torch.float32).numpy()
    return wide
