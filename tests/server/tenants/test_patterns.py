"""Which names patterns let pass."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraplex_server.tenants.patterns import EVERYTHING, Patterns

TEXT = st.text(alphabet="ab-*[.", max_size=8)


@pytest.mark.parametrize(
    ("patterns", "name", "fits"),
    [
        (["acme-*"], "acme-sql", True),
        (["acme-*"], "acme-", True),
        (["acme-*"], "acme", False),
        (["acme-*"], "not-acme-sql", False),
        (["acme-*"], "base", False),
        (["base", "x"], "base", True),
        (["*-sql-*"], "acme-sql-3", True),
        (["a*a"], "a", False),
        (["[ab]"], "a", False),
        (["a?c"], "abc", False),
        (["Acme"], "acme", False),
        ([], "anything", False),
    ],
)
def test_a_star_is_all_that_is_special(patterns: list[str], name: str, fits: bool) -> None:
    assert Patterns(patterns).fit(name) == fits


@given(pattern=TEXT, name=TEXT)
def test_patterns_mean_what_the_same_regular_expression_means(pattern: str, name: str) -> None:
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    assert Patterns([pattern]).fit(name) == (re.fullmatch(expression, name) is not None)


@given(name=TEXT)
def test_everything_is_everything(name: str) -> None:
    assert EVERYTHING.fit(name)


def test_many_stars_take_no_longer() -> None:
    assert not Patterns(["*a" * 5000 + "b"]).fit("a" * 5000)
