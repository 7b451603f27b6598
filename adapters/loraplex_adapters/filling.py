"""One pass over the tensor file: every byte hashed, and every weight put where its recipe wants it."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.generation import ContentHash
from loraplex_adapters.package import Package
from loraplex_adapters.recipe import room_in
from loraplex_adapters.tensor_file import read_pieces, scratch_bytes

# Elements read at once: hashing and converting let go of the interpreter lock, and ask for it again after each piece.
LARGE = 1 << 18


def fill(package: Package, buffer: Tensor, base: BaseWeights) -> str:
    """Read the tensors in the file's order, and then compute what the recipe computes from them.

    Args:
        package: what to read, and where it goes.
        buffer: uint8 `[package.nbytes]` on the CPU.
        base: asked for weights where the recipe needs them.

    Returns:
        The generation: the hash of everything that was read.

    Raises:
        AdapterRefusedError: a weight is infinite or NaN, or too large for the dtype, or the recipe says more.
        AdapterError: the file changed meanwhile.
        OSError: it cannot be read.
    """
    filling = package.recipe.open(room_in(buffer, package.layout, package.recipe, package.dtype), base)
    scratch = torch.empty(max(scratch_bytes(put.row, LARGE) for put in filling.puts.values()), dtype=torch.uint8)
    content = ContentHash(package.config)
    content.update(package.header.raw)
    reasons: list[str] = []
    with open(os.path.join(package.source.path, TENSOR_FILE), "rb", buffering=0) as file:
        for spec in package.header.tensors.values():
            put = filling.puts[spec.name]
            finite = True
            for first, piece in read_pieces(file, spec, put.row, scratch, LARGE):
                content.update(piece.view(torch.uint8).numpy().data)
                finite &= put.place(first, piece)
            if not finite:
                reasons.append(f"{spec.name} holds an infinity or NaN, or a value too large for {put.dtype}")
    if not reasons:
        package.require_unchanged()  # what follows may take a while, and is for nothing if it was half written
        reasons += filling.finish()
    if reasons:
        raise AdapterRefusedError(package.source.name, reasons)
    return content.generation()
