"""A decode step at addresses that never change: what a captured forward reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from loraplex_kernels.attention import AttentionBatch, DecodeRows, Span
from loraplex_kernels.lora import AdapterTable, LoraStep, StaticLimits, StaticPlan
from loraplex_kernels.lora.batch import LoraBatch
from loraplex_server.engine.graphs.key import GraphKey
from loraplex_server.models.adapter_step import AdapterStep


class StaticRows:
    """Tokens and attention of up to `rows` sequences; all graphs share them, each its first rows: one runs at a time.

    Rows past the step's own are padding, and so are all of a fresh one: of context 0, their keys and values go nowhere.

    Args:
        rows: of the largest graph.
        max_context: tokens of the longest sequence.
        block_size: of the KV cache.
        device: where they lie.
    """

    def __init__(self, rows: int, max_context: int, block_size: int, device: torch.device) -> None:
        self.token_ids = torch.zeros(rows, dtype=torch.int64, device=device)  # of padding: any token
        self._attention = DecodeRows(rows, max_context, block_size, device)

    def attention(self, rows: int) -> AttentionBatch:
        """Of the step that was loaded last, with padding up to `rows`."""
        return self._attention.batch(rows)

    def load(self, tokens: Tensor, spans: Sequence[Span]) -> None:
        """Write a step in place, in the order of the current stream.

        Args:
            tokens: int64 `[n]` on the device.
            spans: of the n sequences, one row each.
        """
        self.token_ids[: len(spans)].copy_(tokens)
        self._attention.load(spans)

    def clear(self) -> None:
        """Leave nothing but padding: a forward then changes no key and no value."""
        self._attention.load(())


class StaticBatch:
    """All that the graph of one key reads.

    Args:
        key: the largest step.
        rows: as many as the key has, or more.
        table: the adapters' low-rank weights.
    """

    def __init__(self, key: GraphKey, rows: StaticRows, table: AdapterTable) -> None:
        self.rows = rows
        self._plan: StaticPlan | None = None
        self.adapters: AdapterStep | None = None
        if key.rank:
            # As many uses of adapters as rows. A step that mixes more of them takes the graph of a larger size.
            self._plan = StaticPlan(StaticLimits(key.rows, key.rows, key.rank, key.magnitude), table)
            self.adapters = AdapterStep(LoraStep(self._plan.batch, table))

    @property
    def stale(self) -> bool:
        """Whether something that a captured launch has the address of lies elsewhere now."""
        return self._plan is not None and self._plan.stale

    def fits(self, lora: LoraBatch | None) -> bool:
        """Whether the step's adapters can be loaded."""
        if lora is None or self._plan is None:
            return lora is None and self._plan is None
        return self._plan.misfit(lora) is None

    def load(self, tokens: Tensor, spans: Sequence[Span], lora: LoraBatch | None) -> None:
        """Write a step that `fits` in place; see `StaticRows.load`.

        Raises:
            ValueError: it does not fit.
        """
        if (lora is None) != (self._plan is None):
            raise ValueError("a step with adapters needs a graph with adapters, and one without them one without")
        if self._plan is not None and lora is not None:
            self._plan.update(lora)
        self.rows.load(tokens, spans)
