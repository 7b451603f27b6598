"""Runs over a file: everything is answered once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from support.api import Api, serve_app, until, write_adapters
from support.batches import answers_in, request_line, said
from support.fake_engine import FakeEngine

from loraplex_server.batch import asker, job
from loraplex_server.batch.answer_file import AnswerFile
from loraplex_server.batch.job import Job
from loraplex_server.batch.options import BatchOptions, Remote
from loraplex_server.commands.error import CommandError
from loraplex_server.engine.interface import EngineDeadError, QueueFullError
from loraplex_server.settings import ServeSettings

Write = Callable[[Sequence[Any]], Path]


class Batch:
    def __init__(self, source: Path, server: ServeSettings | Remote, **how: Any) -> None:
        self.out = source.with_name("out.jsonl")
        self.options = BatchOptions(source, self.out, server, how.get("concurrency"))
        self.console = Console(file=io.StringIO(), width=200)

    async def run(self) -> bool:
        return await Job(self.options, self.console).run()

    @property
    def said(self) -> str:
        return self.console.file.getvalue()


async def test_every_line_is_answered_by_its_own_adapter(api: Api, write: Write) -> None:
    names = ["base", "alpha", "beta"] * 20
    batch = Batch(write([request_line(str(i), name) for i, name in enumerate(names)]), api.settings)
    assert await batch.run()
    found = answers_in(batch.out)
    assert {name: said(answer) for name, answer in found.items()} == {
        str(i): f"hello from {name}" for i, name in enumerate(names)
    }
    assert all(answer["id"].startswith("batch_req_") and answer["response"]["request_id"] for answer in found.values())
    assert "60 of 60 done, 0 failed" in batch.said


async def test_bad_lines_are_answered_and_stop_nothing(api: Api, write: Write) -> None:
    lines = [
        request_line("a"),
        "no json",
        request_line("a", "alpha"),
        {**request_line("c"), "url": "/v1/nowhere"},
        request_line("unknown", "nobody"),
        request_line("streams", stream=True),
        request_line("odd", temperature="hot"),
        request_line("last"),
    ]
    batch = Batch(write(lines), api.settings)
    assert not await batch.run()
    found = answers_in(batch.out)
    assert said(found["a"]) == "hello from base"
    assert said(found["last"]) == "hello from base"
    faults = {name: (each["error"]["code"], each["error"]["line"]) for name, each in found.items() if each["error"]}
    assert faults == {
        "line 2": ("invalid_json_line", 2),
        "line 3": ("duplicate_custom_id", 3),
        "line 4": ("invalid_url", 4),
    }
    refused = {name: found[name]["response"] for name in ("unknown", "streams", "odd")}
    assert [each["status_code"] for each in refused.values()] == [404, 400, 400]
    assert [each["body"]["error"]["param"] for each in refused.values()] == ["model", "stream", "temperature"]
    assert "8 of 8 done, 6 failed" in batch.said


async def test_a_second_run_asks_nothing_again(api: Api, engine: FakeEngine, write: Write) -> None:
    lines = [request_line("a"), "no json", request_line("a"), request_line("unknown", "nobody")]
    batch = Batch(write(lines), api.settings)
    assert not await batch.run()
    content = batch.out.read_bytes()
    engine.requests.clear()
    assert not await batch.run()
    assert batch.out.read_bytes() == content
    assert engine.requests == []
    assert "nothing is left to do: 4 of 4 done, 3 failed" in batch.said


async def test_a_run_that_is_broken_off_goes_on_where_it_was(api: Api, engine: FakeEngine, write: Write) -> None:
    batch = Batch(write([request_line(str(i)) for i in range(40)]), api.settings, concurrency=4)
    engine.stop_at(13)
    run = asyncio.create_task(batch.run())
    await until(lambda: batch.out.exists() and batch.out.read_bytes().count(b"\n") >= 9)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    done = set(answers_in(batch.out))
    assert 9 <= len(done) <= 12
    with batch.out.open("ab") as file:
        file.write(b'{"id": "batch_req_1", "custom_id": "39", "resp')
    engine.go_on()
    engine.requests.clear()
    assert await batch.run()
    assert set(answers_in(batch.out)) == {str(i) for i in range(40)}
    assert len(engine.requests) == 40 - len(done)
    assert f"{len(done)} answers are in OUT already (0 failed)" in batch.said
    assert "the last line of OUT was broken off, and is cut off" in batch.said


async def test_as_many_are_in_flight_as_there_are_seats(api: Api, engine: FakeEngine, write: Write) -> None:
    engine.gate = asyncio.Event()
    batch = Batch(write([request_line(str(i)) for i in range(30)]), api.settings)
    run = asyncio.create_task(batch.run())
    seats = engine.info.max_num_seqs
    await until(lambda: len(engine.requests) >= seats)
    await asyncio.sleep(0.1)
    assert seats <= len(engine.requests) <= seats * 1.25
    engine.gate.set()
    assert await run


@pytest.mark.parametrize("failure", [QueueFullError("full", 1), EngineDeadError("dead")])
async def test_a_busy_or_dead_engine_is_asked_again(
    api: Api, engine: FakeEngine, write: Write, failure: Exception
) -> None:
    engine.failure, engine.fails = failure, lambda request: len(engine.requests) <= 2
    batch = Batch(write([request_line(str(i)) for i in range(3)]), api.settings)
    assert await batch.run()
    assert len(engine.requests) > 3


async def test_it_asks_a_running_server(api: Api, write: Write) -> None:
    async with serve_app(api) as url:
        batch = Batch(write([request_line("a", "alpha"), request_line("b", "nobody")]), Remote(url, None))
        assert not await batch.run()
    found = answers_in(batch.out)
    assert said(found["a"]) == "hello from alpha"
    assert found["b"]["response"]["status_code"] == 404


@pytest.mark.parametrize(
    ("where", "key", "said"),
    [
        ("{url}/v1", "k", "without /v1"),
        ("{url}", "wrong", "does not take the key"),
        ("{dead}", "k", "no server answers"),
    ],
)
async def test_a_wrong_address_or_key_answers_no_line(
    engine: FakeEngine,
    renderer: Any,
    tmp_path: Path,
    write: Write,
    unused_tcp_port: int,
    where: str,
    key: str,
    said: str,
) -> None:
    api = Api(engine, renderer, write_adapters(tmp_path / "adapters", "alpha"), api_key=["k"])
    async with serve_app(api) as url:
        place = where.format(url=url, dead=f"http://127.0.0.1:{unused_tcp_port}")
        batch = Batch(write([request_line("a")]), Remote(place, key))
        with pytest.raises(CommandError, match=said):
            await batch.run()
        assert batch.out.read_bytes() == b""
        batch.options = BatchOptions(batch.options.source, batch.out, Remote(url, "k"), None)
        assert await batch.run()


@pytest.mark.parametrize(
    ("status", "said"), [(401, "does not take the key"), (503, r"no answer for 0 s \(the server says 503\)")]
)
async def test_what_all_lines_would_be_told_ends_the_run(
    write: Write, monkeypatch: pytest.MonkeyPatch, status: int, said: str
) -> None:
    """A server whose list of models is open to all, or that goes away behind its proxy."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200 if request.method == "GET" else status, json={})

    monkeypatch.setattr(asker, "PATIENCE_S", 0.0)
    client = httpx.AsyncClient(base_url="http://x", transport=httpx.MockTransport(answer))
    monkeypatch.setattr(job, "_remote_client", lambda *_: client)
    batch = Batch(write([request_line("a"), request_line("b")]), Remote("http://x", None))
    with pytest.raises(CommandError, match=said):
        await batch.run()
    assert batch.out.read_bytes() == b""


async def test_requests_from_a_pipe_are_refused(api: Api, tmp_path: Path) -> None:
    """They would be counted, and then be gone."""
    os.mkfifo(tmp_path / "in")
    with pytest.raises(CommandError, match="IN is read more than once"):
        await Batch(tmp_path / "in", api.settings).run()


async def test_a_run_that_leaves_lines_unanswered_has_failed(
    api: Api, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "count_lines", lambda _: 2)
    assert not await Batch(write([request_line("a")]), api.settings).run()


async def test_files_that_cannot_be_used_are_named(api: Api, write: Write, tmp_path: Path) -> None:
    missing = Batch(tmp_path / "missing.jsonl", api.settings)
    with pytest.raises(CommandError, match=r"missing\.jsonl: No such file"):
        await missing.run()
    source = write([request_line("a")])
    same = Batch(source, api.settings)
    same.options = BatchOptions(source, source, api.settings, None)
    with pytest.raises(CommandError, match="same file"):
        await same.run()
    batch = Batch(source, api.settings)
    other = AnswerFile(batch.out, lambda _: None)
    with pytest.raises(CommandError, match="another run"):
        await batch.run()
    await other.close()


async def test_an_empty_file_is_done_at_once(api: Api, write: Write) -> None:
    batch = Batch(write([]), api.settings)
    assert await batch.run()
    assert batch.out.read_bytes() == b""
