"""How long a comparison will take, roughly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contest.contender import Contender
from contest.rows import ROWS
from loraplex_server.bench.limits.model import ModelShape

# Output tokens a second (seconds for a first token) with Qwen2.5-0.5B's shape on two cores, to one digit or two: for
# a plan, not for comparison. A server that is not named is taken to be as fast as the first.
_ORDER = ("base-1", "one-1", "distinct-8", "base-32", "one-32", "distinct-32", "ttft-512")
EXPECTED = {
    "vllm": (22, 14, 39, 220, 53, 55, 3.0),
    "llama-bf16": (26, 26, 26, 130, 105, 25, 1.3),
    "llama-q4": (50, 41, 42, 133, 116, 36, 1.5),
    "loraplex-bf16": (30, 29, 110, 250, 230, 200, 0.7),
    "loraplex-int8": (50, 45, 150, 350, 300, 260, 0.5),
    "loraplex-int4": (55, 50, 150, 260, 250, 220, 0.7),
}
STARTS_S = {"vllm": 60.0}
START_S = 15.0
# Rates before each server; a warm-up is about a quarter of a run.
MACHINE_S = 10.0
WARMUP = 0.25
# Of the shape that EXPECTED is of.
WEIGHTS = 494e6


def seconds(contender: Contender, rows: Sequence[str], runs: int, model: ModelShape) -> float:
    """For these rows of one server."""
    known: Mapping[str, float] = dict(zip(_ORDER, EXPECTED.get(contender.name, EXPECTED["vllm"]), strict=True))
    slower = (model.linear_weights + model.head_weights) / WEIGHTS
    total = (MACHINE_S + STARTS_S.get(contender.name, START_S)) if rows else 0.0
    for name in rows:
        row = ROWS[name]
        each = known[name] * row.waves if row.first_token else row.tokens / known[name]
        total += each * slower * (runs + WARMUP)
    return total
