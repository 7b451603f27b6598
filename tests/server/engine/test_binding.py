"""Where an activated adapter begins."""

from __future__ import annotations

import pytest

from loraplex_server.engine.binding import last_occurrence


@pytest.mark.parametrize(
    ("tokens", "wanted", "place"),
    [
        ([1, 2, 3], [2, 3], 1),
        ([1, 2, 1, 2], [1, 2], 2),
        ([1, 1, 1], [1, 1], 1),  # overlapping
        ([5, 1, 2, 9], [1, 2], 1),
        ([1, 2], [1, 2], 0),
        ([1, 2], [1, 2, 3], None),
        ([3, 1, 3], [1, 2], None),
        ([], [1], None),
    ],
)
def test_the_last_occurrence_counts(tokens: list[int], wanted: list[int], place: int | None) -> None:
    assert last_occurrence(tokens, wanted) == place
