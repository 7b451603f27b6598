"""All that a LoRA file was found to hold, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch

from loraplex_adapters.base import BaseShape, BaseWeights
from loraplex_adapters.binding import BoundSite
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.lora.bound_term import BoundTerm, Original
from loraplex_adapters.lora.embedding import BoundEmbedding
from loraplex_adapters.lora.reading import open_reading
from loraplex_adapters.lora.tables import Tables, originals_of, table_terms
from loraplex_adapters.recipe import IsBase, Recipe
from loraplex_adapters.terms import Traits

# aLoRA's prefix shares the base's keys and values, so nothing may act there.
EVERYWHERE = "'alora_invocation_tokens' is set, but PEFT applies {} before the invocation too, which is not served"


@dataclass(frozen=True)
class LoraPlan:
    """Args: name: of the adapter. base: what it binds to. dtype: of tables and norms in memory. sites: low-rank
    updates of linears. embedding: that of the embedding. tables: whole ones. others: terms of everything else.
    unused: tensors that nobody needs. invocation: aLoRA's tokens.
    """

    name: str
    base: BaseShape
    dtype: torch.dtype
    sites: tuple[BoundSite, ...]
    embedding: BoundEmbedding | None
    tables: Tables
    others: tuple[BoundTerm, ...]
    unused: tuple[str, ...]
    invocation: tuple[int, ...]

    def recipe(self) -> Recipe:
        """Before anything was compared with the base: it may come to less."""
        originals = [
            *originals_of(self.tables, self.base),
            *(term.original for term in self.others if term.original is not None),
        ]
        if not originals:
            return self._recipe()
        return replace(self._recipe(settled=False), settle=partial(self._settle, originals))

    def _settle(self, originals: list[Original], is_base: IsBase, base: BaseWeights) -> Recipe:
        same = [one.spec.name for one in originals if is_base(one.spec, partial(one.base, base))]
        needed = [term for term in self.others if term.original is None or term.original.spec.name not in same]
        found = replace(
            self, tables=self.tables.without(same), others=tuple(needed), unused=(*self.unused, *sorted(set(same)))
        )
        return found._recipe()

    def _recipe(self, settled: bool = True) -> Recipe:
        """Args: settled: what is still in the tables differs from the base."""
        tables, base = self.tables, self.base
        if settled and self.invocation and (tables.embedding or tables.head):
            raise AdapterRefusedError(
                self.name, [EVERYWHERE.format("tables of the vocabulary that are not the base's")]
            )
        head = next((site for site in self.sites if site.shape.site == base.head.index), None)
        # Until it is known whether the head's weight is the base's, there is room for both ways.
        differs = tables.head is not None and (settled or tables.rows(base)[1] != base.head.out_features)
        folded = head if differs else None
        sites = [site for site in self.sites if folded is None or site is not folded]
        terms = [*table_terms(tables, base, self.dtype, self.embedding, folded), *self.others]
        return Recipe(
            sites=tuple(site.shape for site in sites),
            terms=tuple(term.shape for term in terms),
            traits=self._traits(terms),
            open=partial(open_reading, sites, terms, (*self.unused, *tables.unused), tables.equal),
        )

    def _traits(self, terms: list[BoundTerm]) -> Traits:
        head = self.base.head.index
        rows, scores = self.tables.rows(self.base)
        return Traits(
            terms=bool(terms),
            invocation=self.invocation,
            input_vocab=None if rows == self.base.embedding.rows else rows,
            output_vocab=None if scores == self.base.head.out_features else scores,
            head=any(term.shape.key == head or term.shape.term in ("output_tokens", "tied_tokens") for term in terms),
        )
