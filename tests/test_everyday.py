"""What a run without --exhaustive leaves out, and what it still proves."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from support.covering import covering

CUBE = list(product("abc", "xyz", (False, True)))
MET: set[tuple[object, ...]] = set()


@pytest.mark.parametrize("strength", [1, 2, 3])
def test_whatever_meets_in_some_row_meets_in_a_chosen_one(strength: int) -> None:
    rows = CUBE[3:]  # not all pairs and triples are there
    chosen = covering(rows, strength)

    def parts(numbers: list[int]) -> set[object]:
        return {part for number in numbers for part in combinations(enumerate(rows[number]), strength)}

    assert parts(chosen) == parts(list(range(len(rows))))


def test_few_rows_do_and_values_take_turns() -> None:
    assert len(covering(CUBE, 1)) == 3
    assert len(covering(CUBE, 2)) <= 10
    assert covering(CUBE, 3) == list(range(18))
    rows = list(product("abcdef", "xyz"))
    assert [rows[number][1] for number in covering(rows, 1)] in (list("xyzxyz"), sorted("xyzxyz"))


def test_nothing_to_choose_from_is_nothing_chosen() -> None:
    assert covering([], 2) == []
    assert covering([("a",)], 2) == [0]


@pytest.mark.covering(1)
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(("letter", "upper"), [("a", "A"), ("b", "B"), ("b", "X")])
def test_a_marked_test_runs_with_each_value(number: int, letter: str, upper: str) -> None:
    MET.update([(number,), (letter, upper), (number, letter, upper)])


def test_and_with_no_more(pytestconfig: pytest.Config) -> None:
    if not MET:
        pytest.skip("the test above was not selected")
    assert {(1,), (2,), (3,), ("a", "A"), ("b", "B"), ("b", "X")} <= MET
    assert len(MET) == 6 + (9 if pytestconfig.getoption("exhaustive") else 3)
