from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraplex_server.logs.lines import ConsoleFormatter
from loraplex_server.logs.printable import printable

NASTY = "a\x1b[31m\x9b2J\r\n12:00:00 INFO    forged\u2028x\u202etxt\x00\x7f\u2066"


def record(message: str, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": message, **extra})


def test_nothing_steers_a_terminal() -> None:
    line = ConsoleFormatter().format(record(NASTY, fields={NASTY: NASTY, "list": [NASTY]}))
    assert line.isprintable()
    assert "\\x1b[31m" in line
    assert "\\u202e" in line


def test_a_traceback_is_set_in() -> None:
    try:
        raise ValueError(NASTY)
    except ValueError as error:
        line = ConsoleFormatter().format(record("bad", exc_info=(type(error), error, error.__traceback__)))
    first, *rest = line.split("\n")
    assert first.endswith("bad")
    assert all(each.startswith("    ") and each.isprintable() for each in rest)


@given(st.text())
def test_every_text_is_one_printable_line(text: str) -> None:
    shown = printable(text)
    shown.encode()  # no half of a pair either
    assert len(shown.splitlines()) <= 1
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)


@pytest.mark.parametrize("text", ["plain", "ümläut 漢字 🎉", "a\\b"])
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text


def test_values_are_quoted_where_they_must_be() -> None:
    line = ConsoleFormatter("engine").format(record("m", fields={"a": "x y", "b": 'q"', "c": "", "d": "ok", "e": 1.5}))
    assert line.endswith('engine: m a="x y" b="q\\"" c="" d=ok e=1.500')
