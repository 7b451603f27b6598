"""What is kept of tenants, while a server runs and when it cannot."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest
from support.api import until

from loraplex_server.api.access import tenancy
from loraplex_server.api.access.tenancy import Tenancy, open_tenancy
from loraplex_server.api.process.start_error import StartError
from loraplex_server.settings import ServeSettings
from loraplex_server.tenants.errors import UsageError
from loraplex_server.tenants.usage import Amount, Slot
from loraplex_server.tenants.usage_book import Question, UsageBook

SLOT = Slot(int(time.time()) // 3600 * 3600, "acme", "", "sql")
ALL = Question(0, 2**40, by="hour")


def opened(state: Path | None) -> Tenancy:
    return open_tenancy(ServeSettings(model="m", state_dir=state))


async def test_usage_is_written_while_the_server_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenancy, "FLUSH_S", 0.01)
    running = opened(tmp_path)
    writing = asyncio.create_task(running.keep_writing())
    running.usage.count(SLOT, Amount(1, 2, 0, 3))
    reader = UsageBook(tmp_path)  # as after a crash
    await until(lambda: reader.read(ALL) == [(SLOT, Amount(1, 2, 0, 3))])
    writing.cancel()
    reader.close()
    running.close()


async def test_what_cannot_be_written_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tenancy, "FLUSH_S", 0.001)
    running, tried = opened(None), []

    def fail() -> None:
        tried.append(1)
        raise UsageError("the disk is full")

    monkeypatch.setattr(running.usage, "flush", fail)
    writing = asyncio.create_task(running.keep_writing())
    with caplog.at_level(logging.ERROR):
        await until(lambda: len(tried) > 5)
    writing.cancel()
    assert [record.getMessage() for record in caplog.records] == ["the disk is full; it is counted on, and tried again"]


def test_the_last_seconds_are_written_at_the_end(tmp_path: Path) -> None:
    running = opened(tmp_path)
    running.usage.count(SLOT, Amount(1))
    running.close()
    again = opened(tmp_path)
    assert again.usage.read(ALL) == [(SLOT, Amount(1))]
    again.close()


def test_files_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "keys.sqlite").write_text("no database " * 100)
    with pytest.raises(StartError, match=r"keys\.sqlite"):
        opened(tmp_path)
    (tmp_path / "keys.sqlite").unlink()
    (tmp_path / "usage.sqlite").write_text("no database " * 100)
    with pytest.raises(StartError, match="--state-dir"):
        opened(tmp_path)


def test_a_server_whose_keys_were_lost_does_not_open_itself_to_all(tmp_path: Path) -> None:
    opened(tmp_path).close()
    (tmp_path / "keys.sqlite").unlink()
    opened(tmp_path).close()  # nobody ever had a key: it is made again
    running = opened(tmp_path)
    running.usage.count(Slot(SLOT.start, "acme", "key-1", "sql"), Amount(1))
    running.close()
    opened(tmp_path).close()
    (tmp_path / "keys.sqlite").unlink()
    for _ in range(2):
        with pytest.raises(StartError, match=r"keys were used here, but .*keys\.sqlite is gone.*open to all"):
            opened(tmp_path)
    assert not (tmp_path / "keys.sqlite").exists()
    open_tenancy(ServeSettings(model="m", state_dir=tmp_path, api_key="secret")).close()
    (tmp_path / "keys.sqlite").unlink()
    (tmp_path / "keys.yaml").write_text("keys: []")
    open_tenancy(ServeSettings(model="m", state_dir=tmp_path, keys=tmp_path / "keys.yaml")).close()
