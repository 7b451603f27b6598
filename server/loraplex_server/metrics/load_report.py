"""The server's load as a header of an answer, for balancers that read it there (Envoy's ORCA, as vLLM writes it)."""

from __future__ import annotations

import json

from loraplex_server.engine.messages import EngineStats

ASKED_BY = "endpoint-load-metrics-format"
HEADER = "endpoint-load-metrics"


def load_report(asked: str, stats: EngineStats) -> str | None:
    """The header's value.

    Args:
        asked: `TEXT` or `JSON`, in any case; whatever else is asked for is not answered.
        stats: the engine's latest word.
    """
    named = {
        "kv_cache_usage_perc": stats.kv_usage,
        "num_requests_running": stats.running,
        "num_requests_waiting": stats.waiting,
    }
    if asked.upper() == "TEXT":
        return "TEXT " + ", ".join(f"named_metrics.{name}={value}" for name, value in named.items())
    if asked.upper() == "JSON":
        return "JSON " + json.dumps({"named_metrics": named})
    return None
