"""The model's forward for decode steps on the CPU, replayed from tapes where a step allows it."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from loraplex_kernels.attention import DecodeRows, KVLayer, Span
from loraplex_kernels.lora import AdapterTable, LoraStep
from loraplex_kernels.lora.taped_step import TapedPlan, taped_batch
from loraplex_kernels.tape import Arena, NotRecordableError, Tape, record
from loraplex_server.engine.graphs.outcomes import Outcomes, never_replayed
from loraplex_server.models.adapter_step import AdapterStep
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.embedded import Embedded

logger = logging.getLogger(__name__)

# A tape is tens of kilobytes, and is recorded by the first step of its kind, which it costs a few milliseconds.
MOST_TAPES = 256


class _Kind(NamedTuple):
    """What the launches of a step hang on."""

    adapters: bool
    magnitude: bool  # an adapter of the step has DoRA magnitudes


class _Key(NamedTuple):
    rows: int
    kind: _Kind
    threads: int


@dataclass(frozen=True)
class _Recorded:
    tape: Tape
    hidden: Tensor  # [rows, H], in the arena


class DecodeTapes:
    """What steps of one row a sequence are replayed from: a tape for each number of rows, with adapters and without.

    There is no padding, and nothing is recorded in advance: a number of rows is recorded by the first step that has it.
    Adapters may come, go and change between the steps, whatever their rank, and the table may grow.

    Not replayed, but left to the caller to run: prefill, and terms beyond low rank. A model that does anything through
    torch between its first layer and its last cannot be recorded; the log says so once, and what it is.

    Args:
        model: on the CPU.
        cache: that it reads and writes.
        table: the adapters' low-rank weights.
        max_rows: of the largest step.
        max_context: tokens of the longest sequence.
    """

    def __init__(
        self, model: Decoder, cache: Sequence[KVLayer], table: AdapterTable, *, max_rows: int, max_context: int
    ) -> None:
        self._model = model
        self._cache = cache
        self._table = table
        self._rows = DecodeRows(max_rows, max_context, cache[0].block_size, table.device)
        self._plan = TapedPlan()
        self._arena = Arena()
        self._input: Embedded | None = None  # of the largest step
        self._tapes: OrderedDict[_Key, _Recorded] = OrderedDict()
        self._refused: set[_Kind] = set()
        self.outcomes = Outcomes()

    def __len__(self) -> int:
        return len(self._tapes)

    @property
    def nbytes(self) -> int:
        """Bytes of the tapes, and of what they all compute in."""
        return self._arena.nbytes + sum(each.tape.nbytes for each in self._tapes.values())

    def run(self, tokens: Tensor, spans: Sequence[Span], step: AdapterStep | None) -> Tensor | None:
        """See `Replay.run`."""
        if reason := never_replayed(spans, step):
            self.outcomes.left(reason)
            return None
        lora = None if step is None or step.lora is None else step.lora.batch
        kind = _Kind(lora is not None, lora is not None and lora.magnitude)
        if kind in self._refused:
            self.outcomes.left("kernels")
            return None
        self._rows.load(spans)
        if lora is not None:
            self._plan.load(lora.cpu_plan, self._table)
        given = self._load(self._model.embed(tokens, self._rows.batch(len(spans)).positions, None))
        key = _Key(len(spans), kind, torch.get_num_threads())
        recorded = self._tapes.get(key)
        if recorded is None:
            return self._record(key, given)
        self._tapes.move_to_end(key)
        recorded.tape.run()
        self.outcomes.replayed()
        return recorded.hidden

    def _load(self, embedded: Embedded) -> Embedded:
        """Move what the first layer is given to where the tapes look for it."""
        rows = embedded.x.shape[0]
        if self._input is None:
            self._input = embedded.room_for(self._rows.shape.rows)
        given = self._input.first(rows)
        given.copy_(embedded)
        return given

    def _record(self, key: _Key, given: Embedded) -> Tensor:
        """Run the step, and keep what it launches, where that can be.

        Either way it is run once: another rank, whose part of a weight takes other kernels, may well record it.
        """
        step = None
        if key.kind.adapters:
            step = AdapterStep(LoraStep(taped_batch(self._plan, magnitude=key.kind.magnitude), self._table))
        batch = self._rows.batch(key.rows)
        try:
            tape, hidden = record(lambda: self._model.run_layers(given, batch, self._cache, step), self._arena)
        except NotRecordableError as error:
            self._refused.add(key.kind)
            what = "DoRA adapters" if key.kind.magnitude else "adapters" if key.kind.adapters else "the base alone"
            logger.warning("decode steps with %s are not replayed from tapes, which is slower: %s", what, error)
            self.outcomes.left("kernels")
            refused: Tensor = error.result
            return refused
        self.outcomes.replayed()
        self._tapes[key] = _Recorded(tape, hidden)
        if len(self._tapes) > MOST_TAPES:
            self._tapes.popitem(last=False)
        return hidden
