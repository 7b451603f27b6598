"""One array of an adapter's terms, before it is filled; and the terms, once it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from loraplex_adapters.terms import EmbeddingLora, Terms, TokenRows

SiteTerm = Literal["bias", "output_scale", "input_scale", "rotation", "weight"]
RowsTerm = Literal["input_tokens", "output_tokens", "tied_tokens"]
WholeTerm = Literal["embedding", "prompt", "prefix"]
Term = SiteTerm | RowsTerm | WholeTerm | Literal["norm", "embedding_lora", "tied"]
Part = Literal["", "ids", "rows", "a", "b"]


@dataclass(frozen=True)
class TermShape:
    """One array.

    Args:
        term: the field of `Terms`; `tied`: one table that is the embedding and the weight of the site `key`;
            `tied_tokens`: rows of both.
        key: index of a site, or module path of a norm; None where the field is not a mapping.
        shape: as the comments in `Terms` have it.
        dtype: in memory: the adapter's for weights, rows, vectors and norms, float32 for biases, scales and rotations.
        part: of a field that has several arrays: `ids` and `rows`, or `a` and `b`.
        scale: of `embedding_lora`, at its `a`.
    """

    term: Term
    key: int | str | None
    shape: tuple[int, ...]
    dtype: torch.dtype
    part: Part = ""
    scale: float = 1.0

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


def assemble(shapes: Sequence[TermShape], arrays: Iterable[Tensor]) -> Terms:
    """The terms whose arrays these are.

    Args:
        shapes: of all arrays.
        arrays: in the same order.
    """
    filled = list(zip(shapes, arrays, strict=True))

    def sites(term: SiteTerm) -> dict[int, Tensor]:
        return {shape.key: array for shape, array in filled if shape.term == term and isinstance(shape.key, int)}

    def one(term: Term, part: Part = "") -> Tensor | None:
        return next((array for shape, array in filled if (shape.term, shape.part) == (term, part)), None)

    def rows(term: RowsTerm) -> TokenRows | None:
        ids, vectors = one(term, "ids"), one(term, "rows")
        return None if ids is None or vectors is None else TokenRows(ids, vectors)

    tied = {shape.key: array for shape, array in filled if shape.term == "tied" and isinstance(shape.key, int)}

    def embedding_lora() -> EmbeddingLora | None:
        a, b = one("embedding_lora", "a"), one("embedding_lora", "b")
        scale = next((shape.scale for shape in shapes if (shape.term, shape.part) == ("embedding_lora", "a")), 1.0)
        return None if a is None or b is None else EmbeddingLora(a, b, scale)

    return Terms(
        bias=sites("bias"),
        output_scale=sites("output_scale"),
        input_scale=sites("input_scale"),
        rotation=sites("rotation"),
        weight=sites("weight") | tied,
        norm={shape.key: array for shape, array in filled if shape.term == "norm" and isinstance(shape.key, str)},
        embedding=one("embedding") if not tied else one("tied"),
        embedding_lora=embedding_lora(),
        input_tokens=rows("input_tokens") or rows("tied_tokens"),
        output_tokens=rows("output_tokens") or rows("tied_tokens"),
        prompt=one("prompt"),
        prefix=one("prefix"),
    )
