"""The bound on a plan's speed: what a step reads and computes, over the machine's rates (bench/limits/bound.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from loraplex_server.bench.limits.bound import Extras, Served
from loraplex_server.bench.limits.formats import Format
from loraplex_server.bench.limits.rates import Rates
from loraplex_server.plan.cache import kv_itemsize
from loraplex_server.plan.model import itemsize
from loraplex_server.plan.plan import Plan
from loraplex_server.plan.weights import Part

BATCHES = (1, 8, 32)
# Products of eight-bit numbers run at twice the rate of sixteen-bit ones, on GPUs that have them.
_TWICE = {"fp8", "int8"}
# What float32 products reach of bfloat16's at the very most: TF32's half.
_FLOAT32 = 0.5


@dataclass(frozen=True)
class Speed:
    """No server decodes faster.

    Args:
        batch: requests at once.
        context: tokens of each.
        base: tokens a second, all of them on the base.
        adapters: the same where each has an adapter of its own.
    """

    batch: int
    context: int
    base: float
    adapters: float

    @property
    def share(self) -> float:
        """What adapters take of a step, 0 to 1."""
        return 1 - self.adapters / self.base


def speeds(plan: Plan, context: int) -> tuple[Speed, ...]:
    """At a few numbers of requests, the last of them as many as fit; none where the memory's rate is not known.

    Exchange between several GPUs is left out: it is a bound.

    Args:
        plan: of a server.
        context: tokens of each request; less where fewer are served.
    """
    rates = _rates(plan)
    if rates is None:
        return ()
    context = min(context, plan.longest)
    full = min(plan.asked.max_num_seqs, plan.cache.sequences(context))
    served = _served(plan, rates)
    found = []
    for batch in sorted({*(each for each in BATCHES if each <= full), full} - {0}):
        distinct = min(batch, plan.adapters)
        base, mixed = (served.decode(batch, context, each).ms for each in (0, distinct))
        found.append(Speed(batch, context, batch / base * 1e3, batch / mixed * 1e3))
    return tuple(found)


def _rates(plan: Plan) -> Rates | None:
    machine = plan.machine
    if machine.read_gb_s is None:
        return None
    half = machine.tflops or math.inf
    tflops: Mapping[str, float] = {
        "float32": half * _FLOAT32,
        "bfloat16": half,
        "float16": half,
        "eight bits": half * 2,
    }
    return Rates(machine.read_gb_s, tflops)


def _served(plan: Plan, rates: Rates) -> Served:
    """One rank's part of the work, at one rank's rates."""
    dtype = plan.model.dtype(plan.asked.dtype, plan.machine.device)
    linears = next(part for part in plan.weights if part.name == "linears")
    head = next(part for part in plan.weights if part.name.endswith("lm_head"))
    stored = kv_itemsize(plan.asked, plan.machine.device, itemsize(dtype))
    extras = Extras(plan.adapter.weights, plan.adapter.nbytes, stored)
    return Served(plan.model.shape, rates, _format(linears, dtype), head=_format(head, dtype), extras=extras)


def _format(part: Part, dtype: str) -> Format:
    multiplied_as = "eight bits" if part.form in _TWICE else dtype
    return Format(part.form, part.nbytes / part.weights, multiplied_as, activations=dtype)
