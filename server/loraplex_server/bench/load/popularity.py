"""Which adapter each request names."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

FORMS = "base, one, uniform, zipf:S or distinct"


@dataclass(frozen=True)
class Popularity:
    """A law over adapters 0 to N-1.

    `base` asks for none; `one` for adapter 0 always; `uniform` draws each as often; `zipf` draws adapter k (from 1)
    with probability proportional to `k ** -exponent`; `distinct` goes round in order, so that any N requests in a row
    name N adapters.
    """

    law: str
    exponent: float = 0.0

    def draw(self, adapters: int, count: int, rng: np.random.Generator) -> list[int | None]:
        """The adapter of each of `count` requests, None for the base model.

        Raises:
            ValueError: the law needs adapters and there are none.
        """
        if self.law == "base":
            return [None] * count
        if adapters < 1:
            raise ValueError(f"popularity {self.law} needs adapters, and the server lists none (see --models)")
        if self.law == "one":
            return [0] * count
        if self.law == "distinct":
            return [i % adapters for i in range(count)]
        return [int(i) for i in rng.choice(adapters, size=count, p=self.shares(adapters))]

    def distinct(self, adapters: int, at_once: int) -> float:
        """Different adapters among so many requests, on average."""
        if self.law == "base" or not at_once:
            return 0.0
        if self.law in ("one", "distinct"):
            return 1.0 if self.law == "one" else float(min(adapters, at_once))
        return sum(1 - (1 - share) ** at_once for share in self.shares(adapters))

    def shares(self, adapters: int) -> list[float]:
        """The probability of each adapter under `uniform` or `zipf`; sums to 1."""
        weights = np.arange(1, adapters + 1, dtype=np.float64) ** -self.exponent
        return [float(share) for share in weights / weights.sum()]


def parse_popularity(text: str) -> Popularity:
    """A law from its name on the command line.

    Raises:
        ValueError: `text` is none of `FORMS`.
    """
    if text in {"base", "one", "uniform", "distinct"}:
        return Popularity(text)
    if zipf := re.fullmatch(r"zipf:(\d+(?:\.\d+)?)", text):
        return Popularity("zipf", float(zipf[1]))
    raise ValueError(f"popularity is {FORMS}; got {text!r}")


def with_base_share(picks: list[int | None], share: float, rng: np.random.Generator) -> list[int | None]:
    """`picks` with round(share x count) of the requests, drawn at random, sent to the base model instead."""
    moved = set(rng.permutation(len(picks))[: round(share * len(picks))].tolist())
    return [None if i in moved else pick for i, pick in enumerate(picks)]
