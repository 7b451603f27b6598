"""The bounds for people, formula first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from loraplex_server.bench.limits import bound
from loraplex_server.bench.limits.bound import Served, overlapped, staged
from loraplex_server.bench.limits.machine import Machine
from loraplex_server.bench.limits.model import ModelShape
from loraplex_server.bench.limits.rates import Rates


def bound_row(served: Served, batch: int, distinct: int, prompt: int, output: int, context: float) -> dict[str, Any]:
    """One line of the table: a decode step, the prefill of one prompt, and a whole wave of requests."""
    step = served.decode(batch, context, distinct)
    prefill = served.prefill(1, prompt, min(distinct, 1))
    tokens = batch * output
    return {
        "format": served.form.name,
        "batch": batch,
        "distinct": distinct,
        "read_ms": sum(stage.read_ms for stage in step.stages),
        "compute_ms": sum(stage.compute_ms for stage in step.stages),
        "step_ms": step.ms,
        "staged_ms": step.staged_ms,
        "decode_tok_s": batch / step.ms * 1e3,
        "prefill_ms": prefill.ms,
        "served_tok_s": tokens / served.wave_s(batch, prompt, output, distinct, overlapped),
        "served_staged_tok_s": tokens / served.wave_s(batch, prompt, output, distinct, staged),
    }


def machine_table(machines: Sequence[Machine]) -> Table:
    """The measured rates, a column for each number of threads."""
    table = Table(title="This machine, median [best]", title_justify="left")
    table.add_column("")
    for machine in machines:
        table.add_column(f"{machine.threads} thread{'s' * (machine.threads > 1)}", justify="right")
    table.add_row("read, GB/s", *(str(machine.read_gb_s) for machine in machines))
    for name in machines[0].tflops:
        table.add_row(f"product {name}, T/s", *(str(machine.tflops[name]) for machine in machines))
    return table


def legend(model: ModelShape, rates: Rates, rank: int) -> str:
    """The formula, and what its letters are here."""
    formula = (bound.__doc__ or "").partition("\n\n")[2]
    speeds = ", ".join(f"F({name}) {speed:.4g} T/s" for name, speed in rates.tflops.items())
    return (
        f"{formula}\n{model.name}: P {model.linear_weights / 1e6:.1f} M, H {model.head_weights / 1e6:.1f} M, "
        f"A {model.adapter_weights(rank) / 1e6:.2f} M at rank {rank}, K {model.kv_values} values, "
        f"D {model.attention_width}\nBW {rates.read_gb_s:.4g} GB/s, {speeds}\n"
    )


def bound_table(rows: Sequence[dict[str, Any]], prompt: int, output: int, context: float) -> Table:
    """`bound_row`s as a table."""
    title = f"Bounds: decode at context {context:g}; prefill of {prompt} tokens; waves of {prompt} + {output} tokens"
    table = Table(title=title, title_justify="left")
    headings = ("format", "B", "U", "read ms", "compute ms", "step ms", "staged ms", "decode tok/s", "prefill ms")
    for heading in (*headings, "wave tok/s", "staged tok/s"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if value < 100 else f"{value:.0f}"
    return str(value)
