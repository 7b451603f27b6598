"""Linears that share one input and one launch: q, k and v; gate and up; or one alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate


@dataclass(frozen=True)
class SiteGroup:
    """Sites whose outputs lie side by side in one row of y.

    For q, k, v of widths 896, 128, 128: `sites = (0, 1, 2)`, `widths = (896, 128, 128)`, and y is `[T, 1152]`.
    """

    sites: tuple[int, ...]  # columns of the AdapterTable
    widths: tuple[int, ...]  # output features of each

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First column of y of each site."""
        return (0, *accumulate(self.widths[:-1]))
