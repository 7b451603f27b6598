"""One step on the model: pack the scheduled tokens, run, choose the next tokens."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from loraplex_kernels import attention
from loraplex_kernels.attention.cache import KVLayer
from loraplex_kernels.lora import AdapterTable
from loraplex_kernels.upload import upload
from loraplex_server.engine.adapter_rows import Stretch, adapter_step
from loraplex_server.engine.choice import Choosing
from loraplex_server.engine.flight import Chosen, Flight
from loraplex_server.engine.followers import NO_FOLLOWERS, Followers
from loraplex_server.engine.graphs.replay import Replay
from loraplex_server.engine.messages import ReplayStats
from loraplex_server.engine.prompt_scores import score_prompt
from loraplex_server.engine.sample_inputs import SampleSettings
from loraplex_server.engine.sampler import sample_on_device
from loraplex_server.engine.scheduler import Scheduled
from loraplex_server.engine.sequence import Sequence
from loraplex_server.engine.token_feed import token_ids
from loraplex_server.models.decoder import Decoder


class ModelRunner:
    """Holds the model, its KV cache and the adapter table, and knows nothing of requests or queues.

    `graphs`, where it is set, serves the steps that it can.

    Args:
        model: or this rank's part of it.
        cache: of its keys and values.
        block_size: of the cache.
        table: the adapters' low-rank weights.
        followers: compute the other parts of each step.
    """

    def __init__(
        self,
        model: Decoder,
        cache: list[KVLayer],
        block_size: int,
        table: AdapterTable,
        followers: Followers = NO_FOLLOWERS,
    ) -> None:
        self.model = model
        self.cache = cache
        self.block_size = block_size
        self.table = table
        self.device = cache[0].k.device
        self.followers = followers
        self.graphs: Replay | None = None
        self._last: Chosen | None = None  # by the step before
        self._settings: SampleSettings | None = None  # of the rows that it chose for

    @torch.inference_mode()
    def launch(self, plan: list[Scheduled]) -> Flight:
        """Start to compute the plan's tokens, and to choose the next ones of each sequence that reaches its end.

        On a GPU this returns before the work is done, and a plan may hold tokens that the plan before it chose.
        """
        tokens = token_ids(plan, self._last, self.device)
        hidden = self.forward(tokens, [span for entry in plan for span in _spans(entry)], _stretches(plan))
        firsts = list(accumulate((scheduled.count for scheduled in plan), initial=0))  # row of each sequence's first
        self._last = self._choose(plan, hidden, firsts)
        shares = [
            (scheduled, hidden[first : first + scheduled.count])
            for scheduled, first in zip(plan, firsts, strict=False)
            if scheduled.sequence.wants_prompt_logprobs or scheduled.sequence.pool is not None
        ]
        scores = {
            scheduled.sequence: score_prompt(scheduled, rows, self.logits)
            for scheduled, rows in shares
            if scheduled.sequence.wants_prompt_logprobs
        }
        pooled = {
            scheduled.sequence: scheduled.sequence.pool.of_step(scheduled, rows)
            for scheduled, rows in shares
            if scheduled.sequence.pool is not None
        }
        return Flight(plan, self._last, scores, pooled)

    def forward(self, tokens: Tensor, spans: Seq[attention.Span], stretches: Seq[Stretch]) -> Tensor:
        """Hidden states `[T, H]`, good until the next step.

        Args:
            tokens: int64 `[T]`, on the device.
            spans: where the rows stand in their sequences, and these in the cache.
            stretches: the rows' adapters; none: all are on the base.
        """
        self.followers.forward(tokens, spans, stretches)
        step = adapter_step(stretches, self.table) if stretches else None
        replayed = None if self.graphs is None else self.graphs.run(tokens, spans, step)
        if replayed is not None:
            return replayed
        return self.model.forward(tokens, attention.build_batch(spans, self.block_size, self.device), self.cache, step)

    def logits(self, hidden: Tensor, stretches: Seq[Stretch]) -> Tensor:
        """Scores of the next token, see `Decoder.logits`.

        Args:
            hidden: `[R, H]`, rows of what `forward` gave.
            stretches: the rows' adapters; none: all are on the base.
        """
        self.followers.logits(hidden)
        return self.model.logits(hidden, adapter_step(stretches, self.table, head=True) if stretches else None)

    def replay_stats(self) -> ReplayStats:
        """How many steps were replayed; all zero where none can be."""
        return ReplayStats() if self.graphs is None else self.graphs.outcomes.stats()

    def forget_replays(self) -> None:
        """Count them anew."""
        if self.graphs is not None:
            self.graphs.outcomes.forget()

    def close(self) -> None:
        """End the followers. Nothing can be computed any more."""
        self.followers.close()

    def _choose(self, plan: Seq[Scheduled], hidden: Tensor, firsts: Seq[int]) -> Chosen | None:
        """For the sequences that reach their last token, in order."""
        asked = _Asked()
        for entry, first in zip(plan, firsts, strict=False):
            if entry.samples and entry.sequence.pool is None:
                asked.add(entry, first + entry.count)
        if not asked.rows:
            return None
        sequences = asked.sequences
        last = asked.stretches if _on_adapters(sequences) else ()
        logits = self.logits(_rows(hidden, asked.rows), last)
        if self._settings is None or not self._settings.hold_for(sequences, logits.shape[1]):
            self._settings = SampleSettings.of(sequences, logits.shape[1])
        inputs = self._settings.inputs(asked.ahead)
        sampled = sample_on_device(logits, inputs)
        return Chosen(asked.places, sampled.next_ids, Choosing(sampled, inputs))


@dataclass
class _Asked:
    """The rows of a step that tokens are chosen from, each with what it belongs to."""

    rows: list[int] = field(default_factory=list)
    sequences: list[Sequence] = field(default_factory=list)
    ahead: list[int] = field(default_factory=list)  # tokens between the sequence's last that is known and the row's own
    places: dict[Sequence, range] = field(default_factory=dict)
    stretches: list[Stretch] = field(default_factory=list)

    def add(self, entry: Scheduled, end: int) -> None:
        """The last rows of an entry, which end before `end`."""
        sequence, count = entry.sequence, entry.chosen
        self.places[sequence] = range(len(self.rows), len(self.rows) + count)
        self.rows += range(end - count, end)
        self.sequences += [sequence] * count
        self.ahead += range(sequence.in_flight, sequence.in_flight + count)
        self.stretches.append(Stretch(sequence.adapters, entry.end - count, count))


def _spans(entry: Scheduled) -> list[attention.Span]:
    """An entry's rows for attention.

    Those of a draft are told one by one: all keys and values of a step are written before any is read, so each is a row
    of decoding that has the ones before it in its context. So what serves decoding, tapes and graphs too, serves them.
    """
    table = entry.sequence.block_table
    if not entry.draft:
        return [attention.Span(entry.count, entry.end, table)]
    return [attention.Span(1, position + 1, table) for position in range(entry.start, entry.end)]


def _stretches(plan: Seq[Scheduled]) -> Seq[Stretch]:
    """All rows with their adapters; none where all are on the base alone."""
    if not _on_adapters(entry.sequence for entry in plan):
        return ()
    return [Stretch(entry.sequence.adapters, entry.start, entry.count) for entry in plan]


def _on_adapters(sequences: Iterable[Sequence]) -> bool:
    """Whether any of them is not on the base alone."""
    return any(sequence.adapters for sequence in sequences)


def _rows(hidden: Tensor, rows: list[int]) -> Tensor:
    """`[R, H]`; a step of decoding takes them all as they are."""
    if len(rows) == hidden.shape[0]:  # ascending, and none twice
        return hidden
    return hidden.index_select(0, upload([np.array(rows, dtype=np.int64)], hidden.device)[0])
