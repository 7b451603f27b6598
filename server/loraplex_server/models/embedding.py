"""From token ids to hidden states."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from loraplex_adapters.terms import TokenRows
from loraplex_kernels.linear import RowWeight
from loraplex_server.models.adapter_step import AdapterStep, TermUse
from loraplex_server.models.move import Move


class Embedding:
    """A table of vectors.

    Args:
        weight: `[vocab, H]`, perhaps the output layer's.
        dtype: of the vectors.
        device: where it is.
        scale: what each vector is multiplied by: Gemma's sqrt(H). Rounded to the table's dtype first, as
            transformers does (Gemma2TextScaledWordEmbedding), so that sqrt(3072) is 55.5 in bfloat16.
    """

    def __init__(self, weight: RowWeight, dtype: torch.dtype, device: torch.device, scale: float = 1.0) -> None:
        self.weight = weight
        self.dtype = dtype
        self.device = device
        self.scale = None if scale == 1.0 else torch.tensor(scale, dtype=dtype, device=device)

    def __call__(self, token_ids: Tensor, adapters: AdapterStep | None) -> Tensor:
        """int64 `[T]` to `[T, H]`. A token beyond the table is only for rows whose adapter has a vector for it."""
        uses = () if adapters is None else tuple(use for use in adapters.terms if use.terms.embeds)
        if not uses:
            return self.scaled(self.weight.rows(token_ids))
        hidden = self.scaled(self._known(token_ids))
        for move in [self._move(hidden, token_ids, use) for use in uses]:  # all of them from the base's own vectors
            move.add_to(hidden)
        for use in uses:
            if use.terms.prompt is not None and use.virtual is not None:
                # As they are: PEFT puts them beside vectors that the model has scaled already.
                prompt = use.terms.prompt.index_select(0, use.virtual.places)
                hidden.index_copy_(0, use.virtual.rows, prompt.to(hidden.dtype))
        return hidden

    def scaled(self, vectors: Tensor) -> Tensor:
        """As they go into the first layer; changed in place."""
        return vectors if self.scale is None else vectors.mul_(self.scale)

    def _known(self, ids: Tensor) -> Tensor:
        """`look_up` of the base's own table."""
        vocab = self.weight.out_features
        return self.weight.rows(ids.clamp(max=vocab - 1)) * (ids < vocab)[:, None]

    def _move(self, hidden: Tensor, token_ids: Tensor, use: TermUse) -> Move:
        ids, terms = token_ids.index_select(0, use.rows), use.terms
        own = self._known(ids) if terms.embedding is None else look_up(terms.embedding, ids)
        if terms.input_tokens is not None:
            own = _replaced(own, ids, terms.input_tokens)
        own = self.scaled(own.to(hidden.dtype)).float()
        if terms.embedding_lora is not None:
            lora = terms.embedding_lora
            low = self.scaled(look_up(lora.a, ids) @ lora.b * lora.scale)  # peft/tuners/lora/layer.py, Embedding
            own = own + low.float()
        return Move(use.rows, slice(None), (own - hidden.index_select(0, use.rows).float()) * use.weight)


def look_up(table: Tensor, ids: Tensor) -> Tensor:
    """`[n, H]` for int64 `[n]` ids, zeros for those beyond the table."""
    known = ids < table.shape[0]
    return F.embedding(ids.clamp(max=table.shape[0] - 1), table) * known[:, None]


def _replaced(vectors: Tensor, ids: Tensor, tokens: TokenRows) -> Tensor:
    """The vectors, those of the adapter's tokens being its own."""
    place = torch.searchsorted(tokens.ids, ids).clamp(max=tokens.ids.shape[0] - 1)
    own = tokens.ids[place] == ids
    return torch.where(own[:, None], tokens.rows[place].to(vectors.dtype), vectors)
