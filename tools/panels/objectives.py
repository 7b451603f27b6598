"""What is promised of latency: the bounds stand in the alert rules, and the dashboard draws the same."""

from __future__ import annotations

import re
from pathlib import Path

TTFT = "vllm:time_to_first_token_seconds"
INTER_TOKEN = "vllm:inter_token_latency_seconds"
RULES = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "rules.yaml"


def bound(histogram: str) -> str:
    """The bucket bound, in seconds, that the rules count answers against.

    Raises:
        ValueError: the rules name none, or several.
    """
    found = set(re.findall(rf'{histogram}_bucket{{le="([0-9.]+)"}}', RULES.read_text(encoding="utf-8")))
    if len(found) != 1:
        raise ValueError(f"{RULES.name}: {histogram} is counted against {sorted(found)}, instead of one bound")
    return str(found.pop())
