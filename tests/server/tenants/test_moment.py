"""Moments as people write them."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest

from loraplex_server.tenants.moment import LAST, moment, moment_ahead, shown


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0, 0),
        ("1790000000", 1_790_000_000),
        ("2027-01-31", 1_801_353_600),
        (date(2027, 1, 31), 1_801_353_600),
        ("2027-01-31T12:00:00Z", 1_801_396_800),
        ("2027-01-31 12:00+02:00", 1_801_389_600),
        (datetime(2027, 1, 31, 12), 1_801_396_800),
        (datetime(2027, 1, 31, 12, tzinfo=timezone(timedelta(hours=2))), 1_801_389_600),
    ],
)
def test_a_moment_is_one_whoever_writes_it(written: object, seconds: int) -> None:
    assert moment(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "soon", "30d", True, None, 1.5, -1, LAST + 1, "9" * 30, [], "2027-13-01", "20270131"]
)
def test_what_is_none_is_said_so(written: object) -> None:
    with pytest.raises(ValueError, match=r"must be a date|no moment|is it a date"):
        moment(written)


def test_ahead_of_now() -> None:
    assert [moment_ahead(text, 1000.9) for text in ("2h", "1d", "3w")] == [8200, 87_400, 1_815_400]
    assert moment_ahead("2027-01-31", 0) == 1_801_353_600


def test_people_read_it_back() -> None:
    assert shown(1_801_353_600) == "2027-01-31"
    assert shown(1_801_396_800) == "2027-01-31 12:00:00 UTC"
