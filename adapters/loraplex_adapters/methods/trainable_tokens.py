"""Trainable tokens: some rows of the vocabulary have vectors of their own, going in and, where PEFT ties them, out.

Source: PEFT's `TrainableTokensLayer` and `TrainableTokensModel.inject_adapter` (tuners/trainable_tokens).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.computed import Tensors, Value, computed
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.keys import unserved
from loraplex_adapters.methods.names import OF_THE_MODEL, bind_names
from loraplex_adapters.methods.selected import matching
from loraplex_adapters.recipe import Candidate, Recipe
from loraplex_adapters.term_shape import RowsTerm, TermShape
from loraplex_adapters.terms import Traits

KEYS = frozenset({"target_modules", "token_indices", "init_weights"})
PART = "trainable_tokens_delta"


def trainable_tokens(candidate: Candidate) -> Recipe:
    """Raises AdapterRefusedError with every reason."""
    base, fields = candidate.base, Fields(candidate.values)
    ids = fields.indices("token_indices") or ()
    reasons = [*unserved(candidate.values, KEYS), *fields.reasons, *_bad_ids(ids, base.embedding.rows)]
    chosen = matching(candidate, [base.embedding.name, *base.site_by_name])
    if others := [name for name in chosen if name not in (base.embedding.name, base.head.name)]:
        reasons.append(f"target_modules select more than the vocabulary: {', '.join(others)}")
    going_in = base.embedding.name in chosen
    tied = going_in and base.tied
    going_out = base.head.name in chosen or tied
    if not (going_in or going_out):
        reasons.append(f"target_modules {candidate.values.get('target_modules')!r:.300} select no vocabulary")
    if going_out and base.head.index in base.biased:
        reasons.append(f"{base.head.name} has a bias, which PEFT leaves out beside trained tokens")
    shape = (len(ids), base.embedding.width)
    names = [base.embedding.name] * going_in + [base.head.name] * going_out
    wanted = {f"{OF_THE_MODEL}{name}.{PART}": shape for name in names}
    if tied and (copy := f"{OF_THE_MODEL}{base.head.name}.{PART}") not in candidate.tensors:
        del wanted[copy]  # the embedding's rows under a second name, which PEFT need not save
    found = bind_names(candidate.tensors, wanted, reasons)
    if reasons:
        raise AdapterRefusedError(candidate.name, reasons)
    order = np.argsort(np.asarray(ids, dtype=np.int64), kind="stable")
    fill = _Rows(candidate.name, [found[name] for name in wanted], order, tied)
    terms: list[tuple[TermShape, Value]] = []
    kinds: list[tuple[RowsTerm, bool]] = [("input_tokens", going_in), ("output_tokens", going_out)]
    for term, there in kinds:
        if there:
            terms.append(
                (TermShape(term, None, (len(ids),), torch.int64, "ids"), lambda tensors, weights: np.sort(ids))
            )
            terms.append((TermShape(term, None, shape, candidate.dtype, "rows"), fill.of(term)))
    return computed(candidate, [], terms, Traits(terms=True, head=going_out))


class _Rows:
    """The rows in the order of their ids; where two names stand for the same rows, both must hold them."""

    def __init__(self, adapter: str, names: Sequence[str], order: np.ndarray, tied: bool) -> None:
        self._adapter, self._names, self._order, self._tied = adapter, names, order, tied

    def of(self, term: RowsTerm) -> Value:
        name = self._names[0] if term == "input_tokens" or self._tied else self._names[-1]

        def value(tensors: Tensors, base: BaseWeights) -> np.ndarray:
            rows: np.ndarray = tensors[name]
            if self._tied and any(not np.array_equal(tensors[other], rows) for other in self._names):
                reason = f"{' and '.join(self._names)} differ, but this model has one table for both"
                raise AdapterRefusedError(self._adapter, [reason])
            ordered: np.ndarray = rows[self._order]
            return ordered

        return value


def _bad_ids(ids: Sequence[int], rows: int) -> Iterator[str]:
    if not ids:
        yield "'token_indices' are missing"
    if len(set(ids)) < len(ids):
        yield "'token_indices' names a token twice"
    if outside := [token for token in ids if not 0 <= token < rows]:
        yield f"'token_indices' has tokens outside this model's vocabulary of {rows}: {str(outside)[:80]}"
