"""docs/adapters.md says what the matrix found. Named to run after it."""

from __future__ import annotations

import os

import pytest

from conformance.case import Case
from conformance.cases import CASES
from conformance.page import PAGE, REFRESH, holds, render, row
from conformance.record import Record

STALE = f"docs/adapters.md is stale: run `{REFRESH}`"


def test_the_page_says_what_was_found(record: Record) -> None:
    measured = [case for case in CASES if _complete(case.id, len(case.families), record)]
    if len(measured) < len(CASES):
        if os.environ.get("LORAPLEX_WRITE_PAGE"):
            pytest.fail("the page can only be written when every row of the matrix is green")
        _check_rows(measured, record)
        return
    fresh = render(CASES, record)
    if os.environ.get("LORAPLEX_WRITE_PAGE"):
        PAGE.write_text(fresh, encoding="utf-8")
    written = PAGE.read_text(encoding="utf-8").splitlines()
    assert len(written) == len(fresh.splitlines()), STALE
    stale = [new for old, new in zip(written, fresh.splitlines(), strict=True) if not holds(old, new)]
    assert not stale, STALE


def _check_rows(measured: list[Case], record: Record) -> None:
    """Where only a part of the matrix ran, only its rows can be compared."""
    lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    stale = [case.id for case in measured if not any(holds(line, row(case, record)) for line in lines)]
    assert not stale, STALE


def _complete(case_id: str, families: int, record: Record) -> bool:
    found = {**record.differences.get(case_id, {}), **record.refusals.get(case_id, {})}
    return len(found) == families
