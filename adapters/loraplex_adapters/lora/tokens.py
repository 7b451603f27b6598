"""Rows of the vocabulary that were trained by themselves: PEFT's trainable_token_indices."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_adapters.base import BaseShape, BaseWeights
from loraplex_adapters.lora.bound_term import BoundTerm, Filler, constant
from loraplex_adapters.lora.parts import Parts
from loraplex_adapters.peft_config import LoraConfig
from loraplex_adapters.put import Put
from loraplex_adapters.tensor_file import TensorSpec
from loraplex_adapters.term_shape import RowsTerm, TermShape
from loraplex_kernels.ops.convert import convert

DELTA = "trainable_tokens_delta"  # they are the rows themselves
WHAT = "modules of trainable_token_indices"


@dataclass(frozen=True)
class Tokens:
    """Args: input: tokens with a row of their own in the embedding, in the file's order. output: in the output layer.
    tied: the rows of the output layer are those of the embedding.
    """

    input: tuple[int, ...] = ()
    output: tuple[int, ...] = ()
    tied: bool = False

    def conflicts(self, base: BaseShape, lora: Collection[str], saved: Collection[str]) -> Iterator[str]:
        """What PEFT refuses to combine: modules that LoRA is on, modules that are saved whole."""
        for name, ids in ((base.embedding.name, self.input), (base.head.name, self.output)):
            if ids and (name in lora or name in saved):
                other = "LoRA" if name in lora else "'modules_to_save'"
                yield f"both 'trainable_token_indices' and {other} are on {name}, which PEFT cannot combine"
        if self.output and base.head.index in base.biased:
            yield f"'trainable_token_indices' are on {base.head.name}, whose bias PEFT would leave out"


def chosen_tokens(config: LoraConfig, base: BaseShape) -> tuple[Tokens, list[str]]:
    """The tokens of each table; and why PEFT could not find them.

    Source: PEFT's `set_additional_trainable_modules` (utils/other.py).
    """
    chosen = config.trainable_tokens
    if not isinstance(chosen, Mapping):
        return (Tokens(chosen, chosen, tied=True) if base.tied and chosen else Tokens(chosen)), []
    embedding, head = base.embedding.name, base.head.name
    found: dict[str, tuple[int, ...]] = {}
    reasons = []
    for end, ids in chosen.items():
        names = [name for name in (embedding, *base.norms, *(site.name for site in base.sites)) if name.endswith(end)]
        if len(names) != 1 or names[0] not in (embedding, head) or names[0] in found:
            reasons.append(f"'trainable_token_indices' {end!r:.80} must name {embedding} or {head}, each once")
        else:
            found[names[0]] = ids
    rows, scores = found.get(embedding, ()), found.get(head, ())
    if not base.tied or embedding not in found:
        return Tokens(rows, scores), reasons
    if head not in found or rows == scores:
        return (Tokens(rows, rows, tied=True) if rows else Tokens()), reasons
    if config.tie_weights:
        reasons.append(
            f"'ensure_weight_tying' cannot be used with 'trainable_token_indices' that differ between {embedding} and "
            f"{head}; PEFT refuses it too"
        )
    return Tokens(rows, scores), reasons


def token_terms(
    parts: Parts, tokens: Tokens, base: BaseShape, rows: tuple[int, int], dtype: torch.dtype
) -> tuple[list[BoundTerm], list[tuple[TensorSpec, TensorSpec]], list[str]]:
    """The terms of the trained tokens.

    Args:
        parts: of the file.
        tokens: of the config.
        base: the model.
        rows: of the adapter's embedding and output layer.
        dtype: of the rows in memory.

    Returns:
        The terms; pairs of tensors that must be equal; what is wrong.
    """
    embedding, head, width = base.embedding.name, base.head.name, base.embedding.width
    reasons = [*_beyond(embedding, tokens.input, rows[0]), *_beyond(head, tokens.output, rows[1])]
    found = parts.need(embedding, DELTA, (len(tokens.input), width), what=WHAT) if tokens.input else None
    if tokens.tied:
        again = parts.get(head, DELTA, (len(tokens.output), width))
        pairs = [] if again is None or found is None else [(again, found)]
        return _rows("tied_tokens", tokens.input, found, dtype), pairs, reasons
    scores = parts.need(head, DELTA, (len(tokens.output), width), what=WHAT) if tokens.output else None
    terms = [
        *_rows("input_tokens", tokens.input, found, dtype),
        *_rows("output_tokens", tokens.output, scores, dtype),
    ]
    return terms, [], reasons


def _beyond(name: str, ids: tuple[int, ...], rows: int) -> Iterator[str]:
    if beyond := [token for token in ids if token >= rows]:
        yield f"'trainable_token_indices' has {beyond[:8]}, but {name} has {rows} rows"


def _rows(term: RowsTerm, ids: tuple[int, ...], spec: TensorSpec | None, dtype: torch.dtype) -> list[BoundTerm]:
    if spec is None:
        return []
    order = sorted(range(len(ids)), key=ids.__getitem__)
    places = torch.empty(len(ids), dtype=torch.int64)
    places[torch.tensor(order)] = torch.arange(len(ids))
    ascending = torch.tensor(sorted(ids), dtype=torch.int64)
    return [
        constant(TermShape(term, None, (len(ids),), torch.int64, "ids"), ascending),
        _sorted_rows(TermShape(term, None, spec.shape, dtype, "rows"), spec, places),
    ]


def _sorted_rows(shape: TermShape, spec: TensorSpec, places: Tensor) -> BoundTerm:
    """Each row of the file goes to its place."""
    width = shape.shape[1]

    def fill(target: Tensor, base: BaseWeights) -> Filler:
        def place(first: int, piece: Tensor) -> bool:
            rows = torch.empty(piece.numel() // width, width, dtype=target.dtype)
            finite = convert(piece.view(-1, width), rows)
            target.index_copy_(0, places[first // width : first // width + len(rows)], rows)
            return finite

        return Filler({spec.name: Put(width, place, target.dtype)})

    return BoundTerm(shape, (spec,), fill)
