"""What was used, counted and kept."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from loraplex_server.tenants.errors import UsageError
from loraplex_server.tenants.usage import DAY_S, HOUR_S, Amount, Slot, slot_at
from loraplex_server.tenants.usage_book import KEPT_S, Question, UsageBook

TODAY = int(time.time()) // DAY_S * DAY_S
ALL = Question(0, 2**40)


def test_a_slot_is_an_hour_a_tenant_and_what_answered() -> None:
    assert slot_at(TODAY + 3 * HOUR_S + 59.9, "acme", "k", ()) == Slot(TODAY + 3 * HOUR_S, "acme", "k", "base")
    assert (
        slot_at(TODAY, "acme", "", ("b", "a"))
        == slot_at(TODAY, "acme", "", ("a", "b"))
        == Slot(TODAY, "acme", "", "a+b")
    )


def test_usage_outlives_the_process(tmp_path: Path) -> None:
    slot = Slot(TODAY, "acme", "", "sql")
    book = UsageBook(tmp_path / "state")
    book.count(slot, Amount(1, 10, 4, 5))
    book.flush()
    book.count(slot, Amount(2, 20, 0, 6))
    assert book.read(ALL) == [(slot, Amount(3, 30, 4, 11))]
    book.close()
    again = UsageBook(tmp_path / "state")
    again.count(slot, Amount(1, 1, 1, 1))
    assert again.read(ALL) == [(slot, Amount(4, 31, 5, 12))]
    again.close()


def test_it_is_asked_by_day_or_hour_tenant_and_time() -> None:
    book = UsageBook()
    for hour in (0, 1, 24, 25):
        for tenant in ("a", "b"):
            book.count(Slot(TODAY - DAY_S + hour * HOUR_S, tenant, "", "x"), Amount(1, hour))
    yesterday = TODAY - DAY_S

    def read(**question: object) -> list[tuple[int, str, int]]:
        asked = Question(**{"since": 0, "until": 2**40, **question})  # type: ignore[arg-type]
        return [(slot.start - yesterday, slot.tenant, amount.prompt_tokens) for slot, amount in book.read(asked)]

    assert read() == [(0, "a", 1), (0, "b", 1), (DAY_S, "a", 49), (DAY_S, "b", 49)]
    assert read(tenant="a", by="hour") == [(0, "a", 0), (HOUR_S, "a", 1), (DAY_S, "a", 24), (DAY_S + HOUR_S, "a", 25)]
    assert read(tenant="a", since=yesterday + HOUR_S, until=TODAY + HOUR_S) == [(0, "a", 1), (DAY_S, "a", 24)]
    assert read(tenant="nobody") == []


def test_keys_are_told_apart_where_that_is_asked() -> None:
    book = UsageBook()
    for key in ("k1", "k2", ""):
        for hour in (0, 1):
            book.count(Slot(TODAY + hour * HOUR_S, "a", key, "x"), Amount(1))
    assert book.read(ALL) == [(Slot(TODAY, "a", "", "x"), Amount(6))]
    apart = book.read(Question(0, 2**40, by_key=True))
    assert apart == [(Slot(TODAY, "a", key, "x"), Amount(2)) for key in ("", "k1", "k2")]


@pytest.mark.parametrize("by_key", [False, True])
def test_pages_are_the_whole(by_key: bool) -> None:
    book = UsageBook()
    for number in range(25):
        book.count(Slot(TODAY - number % 3 * DAY_S, f"t{number % 5}", f"k{number % 2}", f"x{number}"), Amount(1))
    whole = list(book.read(Question(0, 2**40, by_key=by_key)))
    found: list[tuple[Slot, Amount]] = []
    while page := book.read(Question(0, 2**40, by_key=by_key, after=found[-1][0] if found else None, limit=4)):
        assert len(page) <= 4
        found += page
    assert found == whole
    assert len(whole) == 25


def test_what_is_too_old_is_forgotten(tmp_path: Path) -> None:
    book = UsageBook(tmp_path)
    book.count(Slot(TODAY - KEPT_S - DAY_S, "a", "", "x"), Amount(1))
    book.count(Slot(TODAY, "a", "", "x"), Amount(1))
    assert [slot.start for slot, _ in book.read(ALL)] == [TODAY]
    book.close()


def test_what_cannot_be_written_is_counted_on(tmp_path: Path) -> None:
    book = UsageBook(tmp_path)
    slot = Slot(TODAY, "a", "", "x")
    book.count(slot, Amount(1))
    connection, book._connection = book._connection, UsageBook()._connection
    book._connection.close()
    with pytest.raises(UsageError):
        book.flush()
    book.count(slot, Amount(1))
    book._connection = connection
    assert book.read(ALL) == [(slot, Amount(2))]
    book.close()


def test_nothing_is_lost_between_threads(tmp_path: Path) -> None:
    book = UsageBook(tmp_path)
    slot = Slot(TODAY, "a", "", "x")
    done = threading.Event()

    def flush() -> None:
        while not done.is_set():
            book.flush()

    flusher = threading.Thread(target=flush)
    flusher.start()
    for _ in range(20_000):
        book.count(slot, Amount(1, 2, 3, 4))
    done.set()
    flusher.join()
    assert book.read(ALL) == [(slot, Amount(20_000, 40_000, 60_000, 80_000))]
    book.close()


def test_a_folder_that_cannot_be_used_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="usage"):
        UsageBook(tmp_path / "file")
