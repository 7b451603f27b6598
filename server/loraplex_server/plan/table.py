"""A plan for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from loraplex_server.plan.plan import Plan
from loraplex_server.plan.speed import Speed
from loraplex_server.settings.quantity import format_bytes


def plan_table(plan: Plan, speeds: Sequence[Speed]) -> RenderableType:
    """Where the memory goes, what that is enough for, and the bound on the speed."""
    about = plan.machine
    whose = f" (each of {about.gpus})" if about.gpus > 1 else ""
    title = f"{plan.model.name} on {about.name}{whose}"
    parts: list[RenderableType] = [_memory(plan, title), Text(), *(Text(line) for line in _enough(plan))]
    if speeds:
        parts += [Text(), _speed(speeds)]
    else:
        parts += [Text(), Text("--bandwidth GB/S, or a GPU by its name, adds the bound on the speed.", style="dim")]
    return Group(*parts)


def _memory(plan: Plan, title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("memory", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for part in plan.weights:
        table.add_row(f"weights: {part.name}", format_bytes(part.nbytes), part.form)
    cache = plan.cache
    blocks = f"{cache.blocks:,} blocks of {cache.block_size}"
    kv = f"{cache.tokens:,} tokens, {blocks}; {cache.token_nbytes:,.0f} bytes a token"
    table.add_row("KV cache", format_bytes(cache.nbytes), kv)
    adapters = f"{plan.resident:,} of {format_bytes(plan.adapter.nbytes)}; {plan.adapter.about}"
    table.add_row("adapters", format_bytes(plan.adapters_nbytes), adapters)
    table.add_row("largest step", format_bytes(plan.steps.total), "activations and scores")
    table.add_row("process", format_bytes(plan.overhead), _of_process(plan))
    if plan.machine.device == "cpu":
        table.add_row("while it loads, instead", format_bytes(plan.loading), "about, without caches and steps")
        beside = format_bytes(plan.beside_weights)
        table.add_row("adapters beside their weights", beside, "Python's objects, and the host tier")
    table.add_section()
    table.add_row("together", format_bytes(plan.total), f"of {format_bytes(plan.machine.memory)}", style="bold")
    return table


def _of_process(plan: Plan) -> str:
    return "CUDA and its libraries, estimated" if plan.machine.device == "cuda" else "engine and HTTP, measured"


def _enough(plan: Plan) -> Iterator[str]:
    cache, longest = plan.cache, plan.longest
    yield f"{cache.sequences(longest):,} sequences of {longest:,} tokens at once; {plan.asked.max_num_seqs} seats"
    if longest < plan.model.config.max_model_len:
        yield f"the model could do {plan.model.config.max_model_len:,} tokens: --kv-cache-memory gives them room"
    rest = plan.adapters - plan.resident - plan.on_host
    where = f"{plan.resident:,} of {plan.adapters:,} adapters fit"
    if plan.on_host:
        where += f", {plan.on_host:,} more in the host tier"
    if rest <= 0:
        yield f"{where}: all of them"
        return
    yield f"{where}; the other {rest:,} stay on the disk until somebody asks for them"
    needs = plan.adapters * plan.adapter.pages
    left = plan.machine.memory - plan.fixed
    if needs < left:
        cut = max(left - needs, 0) // cache.block_nbytes * cache.block_size
        yield f"--adapter-memory {needs} would hold all, and leave room for at most {cut:,} tokens of KV cache"
    else:
        yield f"all of them would take {format_bytes(needs)}; {format_bytes(max(left, 0))} are left beside the model"


def _speed(speeds: Sequence[Speed]) -> Table:
    title = f"no server decodes faster than, tokens a second at a context of {speeds[0].context:,}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("requests", "base", "each its own adapter", "adapters' share"):
        table.add_column(heading, justify="right")
    for speed in speeds:
        table.add_row(str(speed.batch), f"{speed.base:,.0f}", f"{speed.adapters:,.0f}", f"{speed.share:.0%}")
    return table
