"""How an engine speculates."""

from __future__ import annotations

from dataclasses import dataclass

from loraplex_server.engine.config import EngineConfig

SHORTEST = 2  # tokens of an n-gram, unless told otherwise
# A step with drafts is no larger, so that as many tapes, graphs and rows of logits are enough.
MOST_ROWS = 128


@dataclass(frozen=True)
class SpeculationSettings:
    """Of prompt lookup; what is not here is off."""

    tokens: int  # of the longest draft
    shortest: int  # tokens that must have occurred before
    longest: int  # tokens that are looked for
    rows: int  # of the largest step with drafts

    @classmethod
    def of(cls, config: EngineConfig) -> SpeculationSettings | None:
        """None where it is off."""
        if config.speculation == "off":
            return None
        return cls(
            tokens=config.speculation_tokens,
            shortest=config.speculation_min_match or min(SHORTEST, config.speculation_max_match),
            longest=config.speculation_max_match,
            rows=most_rows(config),
        )


def most_rows(config: EngineConfig) -> int:
    """Rows of the largest step in which every sequence chooses: one each, and the drafts."""
    if config.speculation == "off":
        return config.max_num_seqs
    return max(config.max_num_seqs, min(config.max_num_seqs * (1 + config.speculation_tokens), MOST_ROWS))
