"""The choices up to the first difference count, that one too."""

from __future__ import annotations

import pytest

from loraplex_server.engine.choice import Choice
from loraplex_server.engine.speculation.verify import counted


@pytest.mark.parametrize(
    ("draft", "chosen", "expected"),
    [
        ([], [7], [7]),
        ([1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4]),
        ([1, 2, 3], [9, 2, 3, 4], [9]),
        ([1, 2, 3], [1, 9, 3, 4], [1, 9]),
        ([1, 2, 3], [1, 2, 9, 4], [1, 2, 9]),
        ([1, 2, 3], [1, None, 3, 4], [1, None]),  # not finite: the sequence ends there
        ([1], [1, None], [1, None]),
    ],
)
def test_what_counts(draft: list[int], chosen: list[int | None], expected: list[int | None]) -> None:
    assert [choice.token for choice in counted(draft, [Choice(token, None) for token in chosen])] == expected
