"""What tenants used: by hour, tenant, key and adapter."""

from __future__ import annotations

from dataclasses import dataclass

HOUR_S = 3600
DAY_S = 24 * HOUR_S


@dataclass(frozen=True, order=True)
class Slot:
    """Where something counts.

    Args:
        start: of the hour, Unix time.
        key: its id; "" for those who have none in the key store, and where keys are added up.
        adapter: a sum's are sorted and joined by "+".
    """

    start: int
    tenant: str
    key: str
    adapter: str


@dataclass
class Amount:
    """Requests that the engine worked on, whatever became of them, and their tokens."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0  # of the prompts': found in the prefix cache
    output_tokens: int = 0

    def add(self, other: Amount) -> None:
        """Count another's too."""
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.cached_tokens += other.cached_tokens
        self.output_tokens += other.output_tokens


def slot_at(now: float, tenant: str, key: str, adapters: tuple[str, ...]) -> Slot:
    """The slot of a moment, in Unix time. Without adapters it is the base's."""
    return Slot(int(now) // HOUR_S * HOUR_S, tenant, key, "+".join(sorted(adapters)) or "base")
