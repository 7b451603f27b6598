"""The model's forward for decode steps, replayed from graphs where a step allows it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_kernels.attention import AttentionBatch, KVLayer, Span
from loraplex_kernels.lora import AdapterTable
from loraplex_kernels.lora.batch import LoraBatch
from loraplex_server.engine.graphs.cache import Graph, GraphCache
from loraplex_server.engine.graphs.capture import Capture, NoRoomError
from loraplex_server.engine.graphs.key import AT_START, RANKS, GraphKey, most_graphs, sizes_up_to, smallest
from loraplex_server.engine.graphs.outcomes import Outcomes, Reason, never_replayed
from loraplex_server.engine.graphs.static_batch import StaticBatch, StaticRows
from loraplex_server.models.adapter_step import AdapterStep
from loraplex_server.models.decoder import Decoder

Forward = Callable[[Tensor, AttentionBatch, AdapterStep | None], Tensor]  # to hidden states [T, H]

logger = logging.getLogger(__name__)


def forward_on(model: Decoder, cache: Sequence[KVLayer]) -> Forward:
    """The model's forward, on one cache."""

    def forward(tokens: Tensor, batch: AttentionBatch, step: AdapterStep | None) -> Tensor:
        return model.forward(tokens, batch, cache, step)

    return forward


@dataclass(frozen=True)
class DecodeShape:
    """Of the steps that graphs are captured for."""

    max_rows: int
    max_context: int  # tokens of the longest sequence
    block_size: int  # of the KV cache
    hidden_size: int  # H
    dtype: torch.dtype  # of the hidden states


class DecodeGraphs:
    """What a step of one row a sequence can be replayed from.

    Not replayed, but left to the caller to run: prefill, terms beyond low rank (which are ops of their own for each
    adapter), ranks above the largest class, steps that mix more adapters than the largest graph has uses, and those
    whose graph there is no room for. `outcomes` counts them, and the log says each reason once.

    Args:
        forward: the model on its cache. What it launches may depend on shapes and tensors alone.
        table: the adapters' low-rank weights; the graphs lie on its device.
        shape: of the steps.
        capture: records the forward.
    """

    def __init__(self, forward: Forward, table: AdapterTable, shape: DecodeShape, capture: Capture) -> None:
        self._forward = forward
        self._table = table
        self._recorder = capture
        self.sizes = sizes_up_to(shape.max_rows)
        self._rows = StaticRows(self.sizes[-1], shape.max_context, shape.block_size, table.device)
        # One for all graphs: an output that each kept for itself could not lie in the memory that they share.
        self._hidden = torch.zeros(self.sizes[-1], shape.hidden_size, dtype=shape.dtype, device=table.device)
        self.cache = GraphCache(self._capture, most_graphs(self.sizes))
        self.outcomes = Outcomes()

    @torch.inference_mode()
    def warm(self) -> None:
        """Capture what nearly all steps need, largest first, so that the smaller ones fit into the same memory.

        The rest is captured when it is first needed: larger ranks, and adapters with DoRA magnitudes. The first step of
        such a size and kind then takes as long as two that are run in Python and the building of a graph, in which all
        answers stand still; nothing is compiled, since the rehearsal has launched every kernel.

        Raises:
            NoRoomError: the memory that was set aside for them is gone.
        """
        started = time.monotonic()
        for rows in reversed(self.sizes):
            for rank in AT_START:
                self.cache[GraphKey(rows, rank)]
        logger.info("captured %d graphs in %.1f s", len(self.cache), time.monotonic() - started)

    def run(self, tokens: Tensor, spans: Sequence[Span], step: AdapterStep | None) -> Tensor | None:
        """Hidden states `[n, H]` of a step, good until the next call; None: the step must be run without a graph.

        Args:
            tokens: int64 `[n]`, on the device.
            spans: of the n sequences.
            step: what the adapters do.
        """
        lora = None if step is None or step.lora is None else step.lora.batch
        graph = self._graph_for(spans, step, lora)
        if not isinstance(graph, Graph):
            self.outcomes.left(*graph)
            return None
        graph.batch.load(tokens, spans, lora)
        graph.replay()
        self.outcomes.replayed()
        return self._hidden[: len(spans)]

    def _graph_for(
        self, spans: Sequence[Span], step: AdapterStep | None, lora: LoraBatch | None
    ) -> Graph | tuple[Reason, str]:
        """A step's graph; or why it has none, and more of that for the log."""
        if reason := never_replayed(spans, step):
            return reason, ""
        key = self.key_of(len(spans), lora)
        if key is None:
            rank = 0 if lora is None else self._highest_rank(lora)
            return ("rank", f"{rank}, above {RANKS[-1]}") if rank > RANKS[-1] else ("adapters", "")
        try:
            graph = self.cache[key]
        except NoRoomError as error:
            return "room", str(error)
        return graph if graph.batch.fits(lora) else ("adapters", "")

    def key_of(self, rows: int, lora: LoraBatch | None) -> GraphKey | None:
        """The smallest graph for a step, captured or not; None where there can be none.

        Args:
            rows: of the step.
            lora: its low-rank updates.
        """
        if lora is None:
            size = smallest(self.sizes, rows)
            return None if size is None else GraphKey(size)
        size = smallest(self.sizes, max(rows, len(lora.decode_blocks.slot)))
        rank = smallest(RANKS, self._highest_rank(lora))
        return None if size is None or rank is None else GraphKey(size, rank, lora.magnitude)

    def _highest_rank(self, lora: LoraBatch) -> int:
        return self._table.highest_rank({run.slot for run in lora.runs})

    def _capture(self, key: GraphKey) -> Graph:
        rows = self._rows
        tokens, attention = rows.token_ids[: key.rows], rows.attention(key.rows)
        batch = StaticBatch(key, rows, self._table)

        def run() -> None:
            self._hidden[: key.rows].copy_(self._forward(tokens, attention, batch.adapters))

        rows.clear()  # what is called to be captured is called: with an older step it would write that one's keys again
        return Graph(batch, self._recorder.capture(run))
