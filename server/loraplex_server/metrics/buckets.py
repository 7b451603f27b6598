"""Histogram buckets, those of vLLM (`v1/metrics/buckets.py`), so that its dashboards and alerts work unchanged."""

from __future__ import annotations

# fmt: off
TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
        20.0, 40.0, 80.0, 160.0, 640.0, 2560.0)
INTER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
               20.0, 40.0, 80.0)
LATENCY = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
           480.0, 960.0, 1920.0, 7680.0)
ITERATION_TOKENS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
CHOICES = (1, 2, 5, 10, 20)
ADAPTERS = (0, 1, 2, 4, 8, 16, 32, 64, 128)
SEQUENCES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
ADAPTER_LOAD = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# fmt: on


def token_counts(longest: int) -> tuple[int, ...]:
    """1, 2, 5, 10, 20, 50 ... up to `longest`."""
    limits: list[int] = []
    scale = 1
    while True:
        for digit in (1, 2, 5):
            if digit * scale > longest:
                return tuple(limits) or (1,)
            limits.append(digit * scale)
        scale *= 10
