"""Decode steps with and without adapters, beside what the bytes allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gpu.clock import Clock
from gpu.popularity import renumbered, slots_of
from loraplex_adapters.source import AdapterSource
from loraplex_server.bench.limits.bound import Served
from loraplex_server.bench.limits.formats import Format
from loraplex_server.bench.limits.model import ModelShape
from loraplex_server.bench.limits.rates import Rates

# In the order that they are measured in, so that what is compared follows what it is compared with. off: an engine that
# never heard of adapters. none: adapters lie in memory, and no row has one. beside: every other row has one of its own.
MODES = ("off", "none", "one", "zipf", "distinct", "mixed", "beside")
BASE = ("off", "none")
OF_MANY = ("zipf", "distinct", "beside")  # which for one row are another mode
POPULARITY = {"one": "identical", "zipf": "zipf", "distinct": "distinct"}
CATALOGUE = 100  # adapters that zipf draws from
MIXED = (8, 16, 32, 64)
# Bytes of a weight, scales included; the base's linears alone, for the output layer stays floating point.
FORMATS = {
    "none": Format("none", 2.0, "bfloat16"),
    "int4": Format("int4", 0.5 + 2 / 128, "bfloat16"),
    "int4-32": Format("int4-32", 0.5 + 2 / 32, "bfloat16"),
    "nf4": Format("nf4", 0.5 + 4 / 64, "bfloat16"),
    "int8-weight": Format("int8-weight", 1.0, "bfloat16"),
    "fp8": Format("fp8", 1.0, "bfloat16"),
}


@dataclass(frozen=True)
class Rows:
    """Which adapter each row of a step uses."""

    adapters: tuple[AdapterSource | None, ...]
    ranks: tuple[int, ...]  # of the distinct adapters


@dataclass(frozen=True)
class Shelf:
    """What rows choose from; `mixed[k]` has the rank `MIXED[k % 4]`."""

    plain: Sequence[AdapterSource]
    mixed: Sequence[AdapterSource]
    rank: int

    def plan(self, modes: Sequence[str], batch: int) -> dict[str, Rows]:
        """The rows of those modes that mean something for such a batch, in the order to measure them in."""
        wanted = [mode for mode in MODES if mode in modes and not (batch == 1 and mode in OF_MANY)]
        return {mode: self.rows(mode, batch) for mode in wanted}

    def rows(self, mode: str, batch: int) -> Rows:
        """A batch of one mode."""
        if mode in BASE:
            return Rows((None,) * batch, ())
        if mode == "beside":
            rows = tuple(self.plain[row // 2] if row % 2 else None for row in range(batch))
            return Rows(rows, (self.rank,) * (batch // 2))
        if mode == "mixed":
            return Rows(tuple(self.mixed[:batch]), tuple(MIXED[row % len(MIXED)] for row in range(batch)))
        numbers = renumbered(slots_of(POPULARITY[mode], batch, max(batch, CATALOGUE)))
        return Rows(tuple(self.plain[number] for number in numbers), (self.rank,) * len(set(numbers)))


def bound_seconds(model: ModelShape, form: str, rates: Rates, rows: Rows, context: int) -> float:
    """What no implementation is faster than: each byte once, at the measured rate. See limits/bound.py."""
    distinct = len(rows.ranks)
    served = Served(model, rates, FORMATS[form], head=FORMATS["none"])
    step = served.decode(len(rows.adapters), context, 0)
    adapters = sum(model.adapter_weights(rank) for rank in rows.ranks) * 2
    read = sum(stage.read_ms for stage in step.stages) / 1e3 + adapters / rates.read_gb_s / 1e9
    compute = sum(stage.compute_ms for stage in step.stages) / 1e3
    return max(read, compute) if distinct else step.ms / 1e3


def rates_of(clock: Clock) -> Rates:
    """A copy's bandwidth, and the rate of a large product in bfloat16."""
    size = 8192 if clock.device.type == "cuda" else 256
    a, b = (torch.randn(size, size, device=clock.device).bfloat16() for _ in range(2))
    out = torch.empty_like(a)
    product = clock.time(lambda: torch.mm(a, b, out=out)).seconds
    return Rates(clock.copy_bytes_per_second() / 1e9, {"bfloat16": 2 * size**3 / product / 1e12})
