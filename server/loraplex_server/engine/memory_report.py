"""Where the memory goes, in a short table for the log."""

from __future__ import annotations

from loraplex_server.engine.memory import MemoryPlan
from loraplex_server.engine.step_needs import StepNeeds

GIB = 1 << 30


def memory_report(plan: MemoryPlan, needs: StepNeeds, weights: int, block_size: int) -> str:
    """A line for each use.

    Args:
        plan: of the caches.
        needs: of the steps; zeros, where nothing was measured, are not shown.
        weights: bytes.
        block_size: tokens.
    """
    tokens = f"{plan.num_blocks * block_size:,} tokens, {plan.num_blocks:,} blocks of {block_size}"
    rows = [
        ("weights", weights, ""),
        ("KV cache", plan.kv_cache_bytes, tokens),
        ("adapters", plan.adapter_bytes, "at most"),
        ("adapters on the host", plan.adapter_host_bytes, "at most"),
        ("activations", needs.activations, "of the largest step"),
        ("graphs", needs.graphs, "at most, told from two sizes"),
        ("free", plan.unassigned, ""),
    ]
    always = {"weights", "KV cache", "adapters", "free"}
    shown = [row for row in rows if row[1] or row[0] in always]
    lines = [f"  {name:<20} {size / GIB:8.2f} GiB  {what}".rstrip() for name, size, what in shown]
    return "\n".join(["memory:", *lines])
