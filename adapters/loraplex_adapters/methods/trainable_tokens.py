"""Trainable tokens: some rows of the vocabulary have vectors of their own, going in and, where PEFT ties them, out.

They are what LoRA's `trainable_token_indices` are, under other names.
Source: PEFT's `TrainableTokensLayer` and `TrainableTokensModel.inject_adapter` (tuners/trainable_tokens).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.beside import beside
from loraplex_adapters.methods.joined import renamed, told
from loraplex_adapters.methods.keys import unserved
from loraplex_adapters.methods.selected import matching
from loraplex_adapters.recipe import Candidate, Recipe

LORAS_KEY = "trainable_token_indices"
KEYS = frozenset({"target_modules", "token_indices", "init_weights"})
# LoRA has a wrapper around the layer that this method is itself.
_PART = re.compile(r"\.(trainable_tokens_delta(\.default)?|base_layer\.weight)$")


def trainable_tokens(candidate: Candidate) -> Recipe:
    """Raises AdapterRefusedError with every reason."""
    base, fields = candidate.base, Fields(candidate.values)
    ids = fields.indices("token_indices") or ()
    reasons = [*unserved(candidate.values, KEYS), *fields.reasons, *_bad_ids(ids)]
    tables = (base.embedding.name, base.head.name)
    chosen = matching(candidate, [base.embedding.name, *base.site_by_name])
    if others := [name for name in chosen if name not in tables]:
        reasons.append(f"target_modules select more than the vocabulary: {', '.join(others)}")
    if not chosen:
        reasons.append(f"target_modules {candidate.values.get('target_modules')!r:.300} select no vocabulary")
    if reasons:
        raise AdapterRefusedError(candidate.name, reasons)
    names = {_PART.sub(r".token_adapter.\1", name): name for name in candidate.tensors}
    tensors = {other: replace(candidate.tensors[name], name=other) for other, name in names.items()}
    try:
        recipe = beside(candidate, tensors, {LORAS_KEY: {name: list(ids) for name in chosen}})
    except AdapterRefusedError as error:
        told_here = [told(reason, names).replace(LORAS_KEY, "token_indices") for reason in error.reasons]
        raise AdapterRefusedError(candidate.name, told_here) from error
    return renamed(recipe, names)


def _bad_ids(ids: Sequence[int]) -> Iterator[str]:
    if not ids:
        yield "'token_indices' are missing"
    if len(set(ids)) < len(ids):
        yield "'token_indices' names a token twice"
    if any(token < 0 for token in ids):
        yield "'token_indices' has numbers below zero"
