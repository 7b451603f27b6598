"""The output layer: scores of the next token, over the vocabulary of each row's adapter."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from loraplex_kernels.linear import BaseWeight
from loraplex_kernels.lora import SiteGroup
from loraplex_kernels.lora.op import add_lora
from loraplex_server.models.adapter_step import AdapterStep, TermUse
from loraplex_server.models.linear import Linear
from loraplex_server.models.move import Move


class Head(Linear):
    """`lm_head`, the one linear whose width an adapter may change.

    Args:
        weight: `[vocab, H]`.
        group: its one site.
        softcap: of the scores, Gemma 2's; None for none.
    """

    def __init__(self, weight: BaseWeight, group: SiteGroup, softcap: float | None) -> None:
        super().__init__(weight, None, group)
        self.site = group.sites[0]
        self.vocab = group.widths[0]
        self.softcap = softcap

    def __call__(self, x: Tensor, adapters: AdapterStep | None) -> Tensor:
        """`[R, H]` to float32 `[R, vocab]`."""
        y = self.weight(x).to(torch.float32)
        if adapters is None:
            return y
        moves = self._moves(x, y, adapters.terms) if adapters.terms else []
        if adapters.lora is not None:
            # Low rank is added in x's dtype. Only the difference is taken over, so that rows without an update keep
            # their float32 scores, whoever is beside them.
            before = y.to(x.dtype)
            after = before.clone()
            add_lora(after, x, self.group, adapters.lora.batch, adapters.lora.table)
            y += after.float() - before.float()
        for move in moves:
            move.add_to(y)
        return y

    def logits(self, hidden: Tensor, adapters: AdapterStep | None) -> Tensor:
        """Scores of the next token.

        Args:
            hidden: `[R, H]`, after the final norm.
            adapters: of these R rows.

        Returns:
            float32 `[R, widest]`: at least as wide as the largest vocabulary of the rows' adapters, -inf where a row's
            own vocabulary has no such token.
        """
        logits = self._cap(self(hidden, adapters))
        uses = () if adapters is None else adapters.terms
        resized = [use for use in uses if self._rows(use) != self.vocab]
        extra = max((self._rows(use) for use in resized), default=0) - self.vocab
        if extra > 0:
            # Rounded up, as Triton compiles its kernels once more for widths that 16 does not divide.
            logits = F.pad(logits, (0, -(-extra // 16) * 16), value=-torch.inf)
        for use in resized:
            own = self._rows(use)
            if own > self.vocab:
                logits[use.rows, self.vocab : own] = self._cap(self._beyond(hidden.index_select(0, use.rows), use))
            logits[:, own:].index_fill_(0, use.rows, -torch.inf)  # a scalar by index is copied, and the host waits
        return logits

    def _rows(self, use: TermUse) -> int:
        """Size of the vocabulary that the adapter scores."""
        weight = use.terms.weight.get(self.site)
        return self.vocab if weight is None else weight.shape[0]

    def _cap(self, logits: Tensor) -> Tensor:
        return logits if self.softcap is None else logits.div_(self.softcap).tanh_().mul_(self.softcap)

    def _beyond(self, hidden: Tensor, use: TermUse) -> Tensor:
        """float32 `[n, added]`: scores of the tokens that only the adapter has."""
        weight, tokens = use.terms.weight[self.site][self.vocab :], use.terms.output_tokens
        if tokens is not None:
            added = tokens.ids >= self.vocab
            weight = weight.index_copy(0, tokens.ids[added] - self.vocab, tokens.rows[added].to(weight.dtype))
        return F.linear(hidden, weight.to(hidden.dtype)).to(torch.float32)

    def _moves(self, x: Tensor, y: Tensor, uses: Iterable[TermUse]) -> list[Move]:
        uses = tuple(uses)
        moves = super()._moves(x, y, uses)
        return moves + [move for use in uses if (move := self._token_move(x, y, use)) is not None]

    def _token_move(self, x: Tensor, y: Tensor, use: TermUse) -> Move | None:
        """For the tokens whose rows of the weight are the adapter's own."""
        tokens = use.terms.output_tokens
        if tokens is None:
            return None
        ids, rows = tokens.ids, tokens.rows
        if self._rows(use) > self.vocab:  # those beyond the base's vocabulary are `_beyond`
            known = ids < self.vocab
            ids, rows = ids[known], rows[known]
        hidden = x.index_select(0, use.rows)
        weight = use.terms.weight.get(self.site)
        if weight is None:
            before = y.index_select(0, use.rows).index_select(1, ids)
        else:  # what is replaced are rows of the adapter's own weight
            before = F.linear(hidden, weight.index_select(0, ids).to(x.dtype))
        by = F.linear(hidden, rows.to(x.dtype)).float() - before.float()
        return Move(use.rows, ids, by * use.weight)
