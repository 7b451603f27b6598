"""One pass over the tensor file: every byte hashed, and every weight put where its recipe wants it."""

from __future__ import annotations

import os
import threading
from typing import BinaryIO

import torch
from torch import Tensor

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.courtesy import breathe
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.generation import ContentHash
from loraplex_adapters.package import Package
from loraplex_adapters.put import Put
from loraplex_adapters.recipe import room_in
from loraplex_adapters.spans import MOST, is_span, read_span, spans
from loraplex_adapters.tensor_file import TensorSpec, read_pieces, scratch_bytes

# Elements read at once: hashing and converting let go of the interpreter lock, and ask for it again after each piece.
LARGE = 1 << 18


class _Scratch(threading.local):
    """A loader thread's own, kept from load to load: fresh memory costs a fault a page."""

    def __init__(self) -> None:
        self._kept = torch.empty(MOST, dtype=torch.uint8)

    def of(self, nbytes: int) -> Tensor:
        """Uint8, at least that long, of any content."""
        return self._kept if nbytes <= MOST else torch.empty(nbytes, dtype=torch.uint8)


_scratch = _Scratch()


def fill(package: Package, buffer: Tensor, base: BaseWeights) -> str:
    """Read the tensors in the file's order, and then compute what the recipe computes from them.

    Args:
        package: what to read, and where it goes.
        buffer: uint8 `[package.layout.nbytes]` on the CPU.
        base: asked for weights where the recipe needs them.

    Returns:
        The generation: the hash of everything that was read.

    Raises:
        AdapterRefusedError: a weight is infinite or NaN, or too large for the dtype, or the recipe says more.
        AdapterError: the file changed meanwhile.
        OSError: it cannot be read.
    """
    filling = package.recipe.open(room_in(buffer, package.layout, package.recipe.terms, package.dtype), base)
    scratch = _scratch.of(max((scratch_bytes(put.row, LARGE) for put in filling.puts.values()), default=0))
    content = ContentHash(package.config)
    content.update(package.header.raw)
    reasons: list[str] = []
    with open(os.path.join(package.source.path, TENSOR_FILE), "rb", buffering=0) as file:
        for span in spans(package.header.tensors.values(), filling.puts):
            breathe()
            if is_span(span, filling.puts):
                raw, finite = read_span(file, span, filling.puts, scratch)
                content.update(raw)
            else:
                (spec,) = span
                finite = [_read_alone(file, spec, filling.puts[spec.name], scratch, content)]
            reasons += [
                _not_finite(spec, filling.puts[spec.name]) for spec, ok in zip(span, finite, strict=True) if not ok
            ]
    if not reasons:
        package.require_unchanged()  # what follows may take a while, and is for nothing if it was half written
        reasons += filling.finish()
    if reasons:
        raise AdapterRefusedError(package.source.name, reasons)
    return content.generation()


def _read_alone(file: BinaryIO, spec: TensorSpec, put: Put, scratch: Tensor, content: ContentHash) -> bool:
    """Says whether all of it is finite."""
    finite = True
    for first, piece in read_pieces(file, spec, put.row, scratch, LARGE):
        content.update(piece.view(torch.uint8).numpy().data)
        finite &= put.place(first, piece)
    return finite


def _not_finite(spec: TensorSpec, put: Put) -> str:
    return f"{spec.name} holds an infinity or NaN, or a value too large for {put.dtype}"
