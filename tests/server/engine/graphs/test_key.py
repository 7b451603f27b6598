"""Which sizes of steps are captured."""

from __future__ import annotations

import pytest

from loraplex_server.engine.graphs.key import sizes_up_to, smallest


@pytest.mark.parametrize(
    ("most", "sizes"),
    [
        (1, (1,)),
        (2, (1, 2)),
        (3, (1, 2, 3)),
        (8, (1, 2, 4, 8)),
        (9, (1, 2, 4, 8, 9)),
        (32, (1, 2, 4, 8, 16, 24, 32)),
    ],
)
def test_the_largest_step_has_a_graph_of_its_own_size(most: int, sizes: tuple[int, ...]) -> None:
    assert sizes_up_to(most) == sizes


def test_no_step_without_rows() -> None:
    with pytest.raises(ValueError, match="at least 1 row"):
        sizes_up_to(0)


@pytest.mark.parametrize(("wanted", "found"), [(1, 1), (3, 4), (4, 4), (5, 8), (9, None)])
def test_a_step_takes_the_smallest_that_holds_it(wanted: int, found: int | None) -> None:
    assert smallest((1, 2, 4, 8), wanted) == found
