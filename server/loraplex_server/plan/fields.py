"""A plan for machines: one JSON object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from loraplex_server.plan.plan import Plan
from loraplex_server.plan.speed import Speed


def plan_fields(plan: Plan, speeds: Sequence[Speed]) -> dict[str, Any]:
    """Sizes in bytes, rates in tokens a second."""
    cache, adapter = plan.cache, plan.adapter
    return {
        "model": plan.model.name,
        "architecture": plan.model.config.architecture,
        "machine": asdict(plan.machine),
        "per": "GPU" if plan.machine.device == "cuda" else "server",
        "total": plan.total,
        "free": plan.unassigned,
        "loading": plan.loading if plan.machine.device == "cpu" else None,
        "weights": {"total": plan.weights_nbytes, "parts": [asdict(part) for part in plan.weights]},
        "overhead": plan.overhead,
        "steps": {"total": plan.steps.total, **asdict(plan.steps)},
        "kv_cache": {
            "total": cache.nbytes,
            "blocks": cache.blocks,
            "block_size": cache.block_size,
            "bytes_per_token": cache.token_nbytes,
            "tokens": cache.tokens,
            "longest_sequence": plan.longest,
            "longest_sequences": cache.sequences(plan.longest),
        },
        "adapters": {
            "total": plan.adapters_nbytes,
            "room": plan.adapter_room,
            "host_room": plan.host_room,
            "about": adapter.about,
            "bytes_per_adapter": adapter.nbytes,
            "wanted": plan.adapters,
            "resident": plan.resident,
            "on_host": plan.on_host,
            "bookkeeping": plan.bookkeeping,
        },
        "bounds": [{**asdict(speed), "adapters_share": speed.share} for speed in speeds],
    }
