"""Whole tables of the vocabulary: the embedding's and the output layer's, saved or resized."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import torch

from loraplex_adapters.base import BaseShape
from loraplex_adapters.binding import BoundSite
from loraplex_adapters.lora.bound_term import BoundTerm, Original, copied
from loraplex_adapters.lora.embedding import BoundEmbedding, embedding_terms
from loraplex_adapters.lora.folding import folded_embedding, folded_head
from loraplex_adapters.lora.modules import Modules
from loraplex_adapters.lora.parts import Parts
from loraplex_adapters.tensor_file import TensorSpec
from loraplex_adapters.term_shape import TermShape

SAVED = "modules of modules_to_save"


@dataclass
class Tables:
    """What a file has of both tables.

    Args:
        embedding: the adapter's own; None: the base's.
        head: likewise.
        unused: tensors that PEFT loads into modules that the adapter covers.
        equal: pairs of tensors that PEFT loads into one place, so that they must be equal.
    """

    embedding: TensorSpec | None = None
    head: TensorSpec | None = None
    unused: list[str] = field(default_factory=list)
    equal: list[tuple[TensorSpec, TensorSpec]] = field(default_factory=list)

    def rows(self, base: BaseShape) -> tuple[int, int]:
        """Rows of the embedding and of the output layer."""
        return (
            base.embedding.rows if self.embedding is None else self.embedding.shape[0],
            base.head.out_features if self.head is None else self.head.shape[0],
        )

    def without(self, same: Collection[str]) -> Tables:
        """Those that are not the base's own, of which the names are given."""
        return replace(
            self,
            embedding=None if self.embedding is not None and self.embedding.name in same else self.embedding,
            head=None if self.head is not None and self.head.name in same else self.head,
        )

    def reasons(self, base: BaseShape) -> list[str]:
        """Vocabularies that do not go together."""
        rows, scores = self.rows(base)
        if rows == scores:
            return []
        return [
            f"the file has {base.embedding.name} of {rows} rows, but {base.head.name} of {scores}: the vocabulary was "
            "resized and only one of them was saved; save with save_embedding_layers=True"
        ]


def find_tables(parts: Parts, modules: Modules, base: BaseShape) -> Tables:
    """Claim both tables, wherever PEFT's wrappers put them.

    What save_embedding_layers saves is loaded over the base's own weight; what modules_to_save saves covers that. Where
    the two tables are one, PEFT loads both into it, the output layer's last.
    """
    tables = Tables()
    over_embedding = _over(parts, base.embedding.name, modules.embedding is not None, modules, base.embedding.width)
    in_lora = any(target.site is base.head for target in modules.targets)
    over_head = _over(parts, base.head.name, in_lora, modules, base.head.in_features)
    saved_embedding = _saved(parts, tables, base.embedding.name, modules, base.embedding.width)
    saved_head = _saved(parts, tables, base.head.name, modules, base.head.in_features)
    if base.tied:
        if over_head is not None and over_embedding is not None:
            tables.equal.append((over_embedding, over_head))
        over_embedding = over_head = over_head or over_embedding
    if modules.saving.tied and saved_embedding is not None and saved_head is not None:
        tables.equal.append((saved_head, saved_embedding))
        saved_head = saved_embedding
    tables.embedding, tables.head = saved_embedding or over_embedding, saved_head or over_head
    used = {spec.name for spec in (tables.embedding, tables.head) if spec is not None}
    equal = {spec.name for pair in tables.equal for spec in pair}
    covered = {spec.name for spec in (over_embedding, over_head) if spec is not None} - used - equal
    tables.unused += sorted(covered)
    return tables


def _over(parts: Parts, name: str, in_lora: bool, modules: Modules, width: int) -> TensorSpec | None:
    """What is loaded over the base's own weight."""
    if name in modules.saving.names:
        part = "original_module.weight"
    elif in_lora:
        part = "base_layer.weight"
    elif parts.has(name, "token_adapter.base_layer.weight"):
        part = "token_adapter.base_layer.weight"
    else:
        part = "weight"
    return parts.get(name, part, (None, width))


def _saved(parts: Parts, tables: Tables, name: str, modules: Modules, width: int) -> TensorSpec | None:
    if name not in modules.saving.names:
        return None
    found = parts.need(name, "weight", (None, width), what=SAVED)
    again = parts.get(name, "modules_to_save.weight", (None, width))
    if found is not None and again is not None:
        tables.equal.append((again, found))
    return found


def originals_of(tables: Tables, base: BaseShape) -> list[Original]:
    """What of the tables may be the base's own."""
    found = []
    if tables.embedding is not None:
        embedding = base.embedding.name
        found.append(Original(tables.embedding, lambda weights: weights.original(embedding)))
    if tables.head is not None and tables.head is not tables.embedding:
        head = base.head.name
        found.append(Original(tables.head, lambda weights: weights.original(head)))
    return found


def table_terms(
    tables: Tables, base: BaseShape, dtype: torch.dtype, lora: BoundEmbedding | None, head: BoundSite | None
) -> list[BoundTerm]:
    """The terms of the tables.

    Args:
        tables: those that the adapter has.
        base: the model.
        dtype: in memory.
        lora: the update of the embedding.
        head: the update of the output layer, if it is to be multiplied out.
    """
    width, index, own = base.embedding.width, base.head.index, tables.embedding
    rows, scores = tables.rows(base)
    one_table = base.tied and own is not None and own is tables.head
    multiplied = lora is not None and lora.magnitude is not None
    if one_table and own is not None and head is None and not multiplied:
        terms = [copied(TermShape("tied", index, own.shape, dtype), own)]
    else:
        terms = []
        if own is not None and not multiplied:
            terms.append(copied(TermShape("embedding", None, own.shape, dtype), own))
        if tables.head is not None:
            shape = TermShape("weight", index, (scores, base.head.in_features), dtype)
            terms.append(copied(shape, tables.head) if head is None else folded_head(shape, tables.head, head))
    if lora is not None and multiplied:
        shape = TermShape("embedding", None, (rows, width), dtype)
        terms.append(folded_embedding(shape, own, lora, base.embedding.name))
    elif lora is not None:
        terms += embedding_terms(lora, dtype)
    return terms
