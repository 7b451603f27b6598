"""Fewer of a test's combinations of parameters, such that each value, or each pair of values, still has its turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import combinations


def covering(rows: Sequence[tuple[Hashable, ...]], strength: int) -> list[int]:
    """Numbers of rows, ascending, that have between them whatever any row has in any `strength` of its columns.

    Greedy: always the row that has most of what is missing; of equals the one whose values were taken least, so that
    values take turns; of these the first. The same in every process.
    """
    parts = [set(combinations(enumerate(row), min(strength, len(row)))) for row in rows]
    missing = set().union(*parts)
    taken: Counter[tuple[int, Hashable]] = Counter()
    chosen = []
    while missing:
        best = max(
            range(len(rows)),
            key=lambda number: (len(parts[number] & missing), -sum(taken[value] for value in enumerate(rows[number]))),
        )
        chosen.append(best)
        missing -= parts[best]
        taken.update(enumerate(rows[best]))
    return sorted(chosen)
