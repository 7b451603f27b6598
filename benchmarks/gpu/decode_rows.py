"""The decode steps of one batch, mode by mode; one that fails is a row of the table that says so."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from synthetic.named import named_shape

from gpu.cores import SLOTS, StepTime, answer_tokens, decode_time, load, make_core
from gpu.decoding import BASE, Rows, bound_seconds
from gpu.outcome import DeviceLostError, Failure, failed, lost_if_lost
from gpu.tables import Column
from gpu.twice import Twice, same_twice
from loraplex_server.bench.limits.rates import Rates
from loraplex_server.engine.core import EngineCore
from loraplex_server.models.decoder import Decoder

COLUMNS = (
    *(Column("batch"), Column("mode", 10), Column("adapters"), Column("ms a step", 9), Column("its repeats", 17)),
    *(Column("tok/s", 6), Column("of bound"), Column("against"), Column("longer by", 16)),
    Column("than one by", 16),
)
TWICE_TOKENS = 16


@dataclass(frozen=True)
class Served:
    """The model as it serves, and how long each figure is measured."""

    model: Decoder
    device: torch.device
    dtype: torch.dtype
    shape: str
    quantization: str
    rates: Rates
    context: int
    steps: int
    repeats: int

    def adapter_bytes(self, ranks: Sequence[int]) -> int:
        """Of adapters in memory, with room for the alignment of their tensors."""
        shape = named_shape(self.shape)
        weights = sum(shape.adapter_weights(rank) for rank in ranks) * self.dtype.itemsize
        return weights + len(ranks) * shape.layers * 14 * 64


class Batch:
    """Measures one batch.

    Args:
        served: the model.
        size: rows.
        plan: rows of each mode, in the order that they are measured in.
    """

    def __init__(self, served: Served, size: int, plan: Mapping[str, Rows]) -> None:
        self._served = served
        self._size = size
        self._plan = plan
        self._core: EngineCore | None = None
        self._found: dict[str, dict[str, float]] = {}

    def measured(self) -> Iterator[tuple[list[object], dict[str, Any]]]:
        """A row of the table and what is kept of it, for each mode; the last: whether a batch gives the same twice."""
        for mode in self._plan:
            outcome = self._guarded(lambda mode=mode: self._time(mode))  # type: ignore[misc]
            yield self._row(mode, outcome)
        last = "distinct" if "distinct" in self._plan else [*self._plan][-1]
        rows = self._plan[last]
        outcome = self._guarded(
            lambda: same_twice(self._lora_core(), self._served.context, rows.adapters, TWICE_TOKENS)
        )
        kept = {"mode": "same twice", "of": last, "failed": _reason(outcome)}
        if isinstance(outcome, Twice):
            kept |= {**vars(outcome), "failed": None if outcome.same else str(outcome)}
        yield [self._size, "same twice", len(rows.ranks), outcome, *[""] * (len(COLUMNS) - 4)], kept
        self._close()

    def _guarded(self, work: Callable[[], StepTime | Twice]) -> StepTime | Twice | Failure:
        try:
            return work()
        except DeviceLostError:
            raise
        except Exception as error:  # the next mode may do better, on another core
            failure = failed(error)
        lost_if_lost(self._served.device, failure)
        self._close()
        return failure

    def _time(self, mode: str) -> StepTime:
        served = self._served
        if mode == "off":
            self._close()
            self._core = self._make(0, slots=1)
        core = self._core or self._lora_core()
        time = decode_time(core, served.context, self._plan[mode].adapters, served.steps, served.repeats)
        if mode == "off":
            self._close()
        return time

    def _lora_core(self) -> EngineCore:
        """With the largest set of adapters in memory, so that a mode without any has them there too."""
        if self._core is None:
            largest = max(self._plan.values(), key=lambda rows: self._served.adapter_bytes(rows.ranks))
            self._core = self._make(self._served.adapter_bytes(largest.ranks) + (1 << 20))
            load(self._core, largest.adapters)
        return self._core

    def _make(self, adapter_bytes: int, slots: int = SLOTS) -> EngineCore:
        served = self._served
        answer = answer_tokens(self._size, served.context, served.steps * served.repeats)
        length = served.context + max(answer, TWICE_TOKENS)
        of_device = (served.model, served.device, served.dtype)
        return make_core(*of_device, sequences=self._size, length=length, adapter_bytes=adapter_bytes, slots=slots)

    def _close(self) -> None:
        if self._core is not None:
            self._core.store.close()
        self._core = None
        gc.collect()  # an engine's parts know each other, and its cache is large

    def _row(self, mode: str, outcome: StepTime | Twice | Failure) -> tuple[list[object], dict[str, Any]]:
        served, rows = self._served, self._plan[mode]
        head: list[object] = [self._size, mode, len(rows.ranks)]
        kept: dict[str, Any] = {"mode": mode, "distinct": len(rows.ranks), "failed": _reason(outcome)}
        if not isinstance(outcome, StepTime):
            return [*head, outcome, *[""] * (len(COLUMNS) - 4)], kept
        shape = named_shape(served.shape)
        bound = bound_seconds(shape, served.quantization, served.rates, rows, served.context)
        seconds = outcome.seconds
        self._found[mode] = {"seconds": seconds, "bound": bound}
        repeats = " ".join(f"{each * 1e3:.2f}" for each in outcome.repeats)
        cells = [f"{seconds * 1e3:.3f}", repeats, f"{self._size / seconds:.0f}", f"{bound / seconds:.0%}"]
        against = "off" if mode in BASE else "none"
        taxes = [against, self._tax(mode, against), self._tax(mode, "one") if mode == "distinct" else ""]
        if against == mode or against not in self._found:
            taxes[:2] = ["", ""]
        return [*head, *cells, *taxes], {**kept, **self._found[mode], "repeats": outcome.repeats}

    def _tax(self, mode: str, against: str) -> str:
        """By how much longer a step takes, and by how much its bytes alone would make it longer."""
        if against not in self._found:
            return ""
        measured, allowed = (self._found[mode][key] / self._found[against][key] - 1 for key in ("seconds", "bound"))
        return f"{measured:+.1%} ({allowed:+.1%})"


def _reason(outcome: object) -> str | None:
    return outcome.reason if isinstance(outcome, Failure) else None
