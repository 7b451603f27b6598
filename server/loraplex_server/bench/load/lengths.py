"""How many tokens a prompt or an answer has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

FORMS = "128, uniform:64-256, lognormal:MEDIAN,SIGMA or lognormal:MEDIAN,SIGMA,MIN-MAX"
# A log-normal's tail has no end; a server's context has one.
DEFAULT_LONGEST = 4096
LONGEST = 10_000_000  # beyond any model's; a number mistyped would take all memory for a prompt


class Lengths(Protocol):
    """A distribution over positive token counts."""

    def draw(self, count: int, rng: np.random.Generator) -> list[int]:
        """`count` lengths, each at least 1."""


@dataclass(frozen=True)
class Fixed:
    """Always the same."""

    tokens: int

    def draw(self, count: int, rng: np.random.Generator) -> list[int]:
        """See `Lengths`."""
        return [self.tokens] * count


@dataclass(frozen=True)
class Uniform:
    """Each whole number from `low` to `high`, both included, as likely."""

    low: int
    high: int

    def draw(self, count: int, rng: np.random.Generator) -> list[int]:
        """See `Lengths`."""
        return [int(n) for n in rng.integers(self.low, self.high + 1, count)]


@dataclass(frozen=True)
class LogNormal:
    """`exp(N(ln median, sigma))`, rounded and clipped to `low..high`."""

    median: float
    sigma: float
    low: int
    high: int

    def draw(self, count: int, rng: np.random.Generator) -> list[int]:
        """See `Lengths`."""
        drawn = rng.lognormal(np.log(self.median), self.sigma, count)
        return [int(n) for n in np.clip(np.rint(drawn), self.low, self.high)]


def parse_lengths(text: str) -> Lengths:
    """A distribution from its name on the command line.

    Raises:
        ValueError: `text` is none of `FORMS`, or leaves room for lengths under 1 or above `LONGEST`.
    """
    if any(len(number) > len(str(LONGEST)) or int(number) > LONGEST for number in re.findall(r"(?<![.\d])\d+", text)):
        raise ValueError(f"a length is at most {LONGEST} tokens; got {text[:80]!r}")
    if re.fullmatch(r"\d+", text) and int(text) >= 1:
        return Fixed(int(text))
    if (bounds := re.fullmatch(r"uniform:(\d+)-(\d+)", text)) and 1 <= int(bounds[1]) <= int(bounds[2]):
        return Uniform(int(bounds[1]), int(bounds[2]))
    number = r"(\d+(?:\.\d+)?)"
    if shape := re.fullmatch(rf"lognormal:{number},{number}(?:,(\d+)-(\d+))?", text):
        median, sigma = float(shape[1]), float(shape[2])
        low, high = (int(shape[3]), int(shape[4])) if shape[3] else (1, DEFAULT_LONGEST)
        if median > 0 and 1 <= low <= high:
            return LogNormal(median, sigma, low, high)
    raise ValueError(f"a length is {FORMS}, in tokens, at least 1; got {text!r}")
