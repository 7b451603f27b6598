"""What load is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from loraplex_server.bench.load.lengths import Fixed, Lengths
from loraplex_server.bench.load.popularity import Popularity

ENDPOINTS = ("completions", "chat")
# In an open loop nothing says how many requests a warm-up wave has.
OPEN_LOOP_WAVE = 8


@dataclass(frozen=True)
class Slo:
    """What a request must keep to count for goodput; None asks nothing."""

    ttft_ms: float | None = None
    """From start to first token."""
    itl_ms: float | None = None
    """The mean gap between its tokens (its time per output token)."""

    @property
    def asked(self) -> bool:
        """Whether there is anything to keep."""
        return self.ttft_ms is not None or self.itl_ms is not None


@dataclass(frozen=True)
class LoadOptions:
    """One kind of load; a run makes it once.

    Raises:
        ValueError: a setting is out of range; the message names it.
    """

    requests: int = 32
    concurrency: int | None = 32
    """Closed loop: that many requests at once, a new one for each that ends. None: open loop, at `rate`."""
    rate: float | None = None
    """Open loop: mean arrivals a second."""
    burstiness: float = 1.0
    popularity: Popularity = field(default_factory=lambda: Popularity("base"))
    base_share: float = 0.0
    """Of the requests, how many go to the base model whatever `popularity` says."""
    prompt: Lengths = field(default_factory=lambda: Fixed(128))
    output: Lengths = field(default_factory=lambda: Fixed(64))
    token_ids: tuple[int, int] = (1000, 16000)
    """Prompts are drawn from these ids, the second not included."""
    endpoint: str = "completions"
    ignore_eos: bool = True
    extra: dict[str, Any] = field(default_factory=dict)
    slo: Slo = Slo()
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        if (self.concurrency is None) == (self.rate is None):
            raise ValueError("give one of --concurrency (closed loop) and --rate (open loop)")
        if self.requests < 1 or (self.concurrency is not None and self.concurrency < 1):
            raise ValueError("--requests and --concurrency must be at least 1")
        if not 0 <= self.base_share <= 1:
            raise ValueError(f"--base-share is from 0 to 1, got {self.base_share}")
        if not 0 <= self.token_ids[0] < self.token_ids[1]:
            raise ValueError(f"--token-ids is LOW:HIGH with LOW < HIGH, got {self.token_ids}")
        if self.endpoint not in ENDPOINTS:
            raise ValueError(f"--endpoint is one of {', '.join(ENDPOINTS)}, got {self.endpoint!r}")
        if self.timeout_s <= 0:
            raise ValueError(f"--timeout must be above 0, got {self.timeout_s}")

    @property
    def at_once(self) -> int | None:
        """Requests in flight when the closed loop is full; None in an open loop."""
        return None if self.concurrency is None else min(self.concurrency, self.requests)

    @property
    def wave(self) -> int:
        """Requests in a warm-up wave."""
        return self.at_once or min(OPEN_LOOP_WAVE, self.requests)
