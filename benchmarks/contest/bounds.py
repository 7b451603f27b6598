"""How near a measured row comes to what the machine allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contest.rows import Row
from loraplex_server.bench.limits.bound import Served
from loraplex_server.bench.limits.formats import FORMATS
from loraplex_server.bench.limits.model import ModelShape
from loraplex_server.bench.limits.rates import Rates


def served(model: ModelShape, server: Mapping[str, Any], result: Mapping[str, Any], rank: int) -> Served:
    """The model as this server has it, on the machine as it was found just before."""
    rates = Rates(result["rates"]["read_gb_s"], result["rates"]["tflops"])
    return Served(model, rates, FORMATS[server["format"]], rank, FORMATS[server["head"]])


def of_bound(row: Row, result: Mapping[str, Any], limit: Served) -> float | None:
    """The row's figure as a fraction of its bound: all of the run's prefill and decode steps, nothing else."""
    if result["figure"] is None:
        return None
    if row.first_token:
        return limit.prefill(1, row.prompt, row.distinct).ms / float(result["figure"])
    seconds = row.waves * limit.wave_s(row.concurrency, row.prompt, row.output, row.distinct)
    return float(result["figure"]) * seconds / row.tokens


def decode_of_bound(row: Row, result: Mapping[str, Any], limit: Served) -> float | None:
    """The steady decode rate as a fraction of a step's bound, in the middle of the answers."""
    steady = result["steady_decode_tok_s"]
    if steady is None or row.first_token:
        return None
    step = limit.decode(row.concurrency, row.prompt + row.output / 2, row.distinct)
    return step.reached(row.concurrency / steady * 1e3)
