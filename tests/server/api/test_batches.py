"""Files and batches, as the openai client asks for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest
from support.api import LIMIT_S, Api, serve_app, until
from support.batches import answers_in, request_line, said
from support.fake_engine import FakeEngine
from support.tenants import make_key, revoke_key

from loraplex_server.api.process.background import BEHIND
from loraplex_server.batch import worker
from loraplex_server.batch.state.batches import Batches, StoredBatch
from loraplex_server.batch.state.database import StateError, Statement
from loraplex_server.batch.state.page import Cursor
from loraplex_server.batch.state.state import BatchLimits, open_state

LIMITS = BatchLimits(file_size=1 << 20, lines=500, line_size=1 << 16, space=1 << 22)
ENDED = ("completed", "failed", "cancelled", "expired")
Serve = Callable[..., contextlib.AbstractAsyncContextManager[openai.AsyncOpenAI]]


@pytest.fixture
def serve(make_api: Callable[..., Api], tmp_path: Path) -> Serve:
    """A server over the same folder, each time anew."""

    @contextlib.asynccontextmanager
    async def serving(limits: BatchLimits = LIMITS, key: str = "none", **settings: Any) -> AsyncIterator[Any]:
        state = open_state(tmp_path / "state", limits)
        api = make_api(state=state, **settings)
        try:
            async with (
                serve_app(api) as url,
                openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client,
            ):
                yield client
        finally:
            state.close()

    return serving


def jsonl(lines: Sequence[Any]) -> bytes:
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)


async def create(client: openai.AsyncOpenAI, lines: Sequence[Any], **fields: Any) -> Any:
    file = await client.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id, **{"endpoint": "/v1/completions", "completion_window": "24h", **fields}
    )


async def ended(client: openai.AsyncOpenAI, id: str, seconds: float = LIMIT_S) -> Any:
    deadline = time.monotonic() + seconds
    while (batch := await client.batches.retrieve(id)).status not in ENDED:
        assert time.monotonic() < deadline, batch
        await asyncio.sleep(0.02)
    return batch


async def content(client: openai.AsyncOpenAI, id: str | None) -> dict[str, dict[str, Any]]:
    return {} if id is None else answers_in((await client.files.content(id)).text)


async def test_a_file_comes_back_as_it_was_sent(serve: Serve) -> None:
    data = jsonl([request_line(str(i)) for i in range(1000)])
    async with serve() as client:
        before = int(time.time())
        file = await client.files.create(file=("päck.jsonl", data), purpose="batch")
        assert (file.bytes, file.filename, file.purpose, file.object) == (len(data), "päck.jsonl", "batch", "file")
        assert before <= file.created_at <= time.time()
        assert file.expires_at == file.created_at + 30 * 24 * 3600
        assert await client.files.retrieve(file.id) == file
        assert (await client.files.content(file.id)).read() == data
        short = {"anchor": "created_at", "seconds": 3600}
        other = await client.files.create(file=("b", b"x"), purpose="batch", expires_after=short)
        assert other.expires_at == other.created_at + 3600
        assert [each.id async for each in client.files.list()] == [other.id, file.id]
        assert [each.id async for each in client.files.list(order="asc", limit=1)] == [file.id, other.id]
        assert [each.id async for each in client.files.list(purpose="batch_output")] == []
        gone = await client.files.delete(file.id)
        assert (gone.id, gone.deleted, gone.object) == (file.id, True, "file")
        for ask in (client.files.retrieve(file.id), client.files.content(file.id), client.files.delete(file.id)):
            with pytest.raises(openai.NotFoundError):
                await ask


async def test_a_batch_of_mixed_adapters_is_answered(serve: Serve) -> None:
    names = ["base", "alpha", "beta", "gamma"] * 10
    lines = [request_line(str(i), name) for i, name in enumerate(names)] + [request_line("none", "nobody")]
    async with serve() as client:
        batch = await create(client, lines, metadata={"run": "7"})
        assert (batch.status, batch.endpoint, batch.metadata) == ("validating", "/v1/completions", {"run": "7"})
        assert batch.expires_at == batch.created_at + 24 * 3600
        batch = await ended(client, batch.id)
        assert (batch.status, batch.errors, batch.model) == ("completed", None, None)
        counts = batch.request_counts
        assert (counts.total, counts.completed, counts.failed) == (41, 40, 1)
        good = await content(client, batch.output_file_id)
        assert {name: said(answer) for name, answer in good.items()} == {
            str(i): f"hello from {name} 0" for i, name in enumerate(names)
        }
        bad = await content(client, batch.error_file_id)
        assert bad["none"]["response"]["body"]["error"]["code"] == "model_not_found"
        usages = [answer["response"]["body"]["usage"] for answer in good.values()]
        assert batch.usage.input_tokens == sum(usage["prompt_tokens"] for usage in usages)
        assert batch.usage.output_tokens == sum(usage["completion_tokens"] for usage in usages)
        output = await client.files.retrieve(batch.output_file_id)
        assert (output.purpose, output.filename) == ("batch_output", f"{batch.id}_output.jsonl")
        assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
        assert [each.id async for each in client.batches.list()] == [batch.id]


async def test_what_cannot_be_a_batch_fails_with_each_line_named(serve: Serve, engine: FakeEngine) -> None:
    lines = [
        request_line("a"),
        b"no json",
        request_line("a"),
        {**request_line("c"), "url": "/v1/chat/completions"},
        {**request_line("d"), "method": "PUT"},
    ]
    async with serve() as client:
        batch = await ended(client, (await create(client, lines)).id)
        found = [(error.line, error.code, error.param) for error in batch.errors.data]
        assert found == [
            (2, "invalid_json_line", None),
            (3, "duplicate_custom_id", "custom_id"),
            (4, "invalid_url", "url"),
            (5, "invalid_method", "method"),
        ]
        assert (batch.status, batch.output_file_id, batch.error_file_id) == ("failed", None, None)
        assert batch.failed_at is not None
        for lines, code in (([], "empty_file"), ([request_line(str(i)) for i in range(501)], "too_many_requests")):
            batch = await ended(client, (await create(client, lines)).id)
            assert [error.code for error in batch.errors.data] == [code]
    assert engine.requests == []


async def test_streams_are_refused_line_by_line(serve: Serve) -> None:
    async with serve() as client:
        batch = await create(client, [request_line("a", stream=True), request_line("b")])
        batch = await ended(client, batch.id)
        bad = await content(client, batch.error_file_id)
        assert bad["a"]["response"]["body"]["error"]["param"] == "stream"
        assert set(await content(client, batch.output_file_id)) == {"b"}


async def test_a_batch_goes_on_where_the_server_ended(serve: Serve, engine: FakeEngine) -> None:
    engine.stop_at(20)
    async with serve() as client:
        batch = await create(client, [request_line(str(i)) for i in range(60)])
        await until(lambda: len(engine.finished) >= 10 and engine.held)
    asked = len(engine.requests)
    assert asked < 60
    engine.go_on()
    async with serve() as client:
        batch = await ended(client, batch.id)
        assert (batch.status, batch.request_counts.completed) == ("completed", 60)
        assert set(await content(client, batch.output_file_id)) == {str(i) for i in range(60)}
    assert len(engine.requests) <= 60 + engine.info.max_num_seqs  # only what was in flight is asked twice
    async with serve() as client:
        assert (await client.batches.retrieve(batch.id)) == batch
        assert set(await content(client, batch.output_file_id)) == {str(i) for i in range(60)}


async def test_a_cancelled_batch_ends_though_no_answer_of_it_does(serve: Serve, engine: FakeEngine) -> None:
    async with serve() as client:
        engine.gate = asyncio.Event()
        engine.fails = lambda request: False
        batches = [await create(client, [request_line(str(i)) for i in range(50)]) for _ in range(4)]
        await until(lambda: len(engine.requests) >= 4)
        for batch in reversed(batches):  # the last ones have not had their turn
            assert (await client.batches.cancel(batch.id)).status == "cancelling"
            batch = await ended(client, batch.id)
            assert (batch.status, batch.request_counts.completed) == ("cancelled", 0)
            assert batch.cancelled_at >= batch.cancelling_at
            with pytest.raises(openai.ConflictError):
                await client.batches.cancel(batch.id)
        await until(lambda: len(engine.closed_early) == len(engine.requests))


async def test_an_expired_batch_says_which_requests_were_too_late(
    serve: Serve, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as client:
        engine.gate = asyncio.Event()
        batch = await create(client, [request_line(str(i)) for i in range(20)])
        await until(lambda: engine.requests)
        tomorrow = time.time() + 25 * 3600
        monkeypatch.setattr(time, "time", lambda: tomorrow)
        batch = await ended(client, batch.id)
        assert (batch.status, batch.request_counts.failed) == ("expired", 20)
        bad = await content(client, batch.error_file_id)
        assert {answer["error"]["code"] for answer in bad.values()} == {"batch_expired"}


async def test_what_was_answered_as_a_batch_expires_is_not_also_too_late(
    serve: Serve, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, sync = threading.Event(), os.fdatasync

    def slow(descriptor: int) -> None:
        began.set()
        time.sleep(0.5)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    async with serve() as client:
        batch = await create(client, [request_line(str(i)) for i in range(5)])
        await until(began.is_set)
        tomorrow = time.time() + 25 * 3600
        monkeypatch.setattr(time, "time", lambda: tomorrow)
        batch = await ended(client, batch.id)
        good, bad = await content(client, batch.output_file_id), await content(client, batch.error_file_id)
        assert good
        assert not good.keys() & bad.keys()
        counts = batch.request_counts
        assert (counts.completed, counts.failed) == (len(good), len(bad))
        assert counts.completed + counts.failed == counts.total == 5


async def test_a_batch_that_could_not_be_kept_for_a_moment_is_taken_up_again(
    serve: Serve, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save, failures = Batches.save, []

    def failing(self: Batches, batch: StoredBatch, *beside: Statement) -> None:
        if batch.status in ("in_progress", "completed") and failures.count(batch.status) < 2:
            failures.append(batch.status)
            raise StateError("the disk is full")
        save(self, batch, *beside)

    monkeypatch.setattr(worker, "RETRY_S", 0.05)
    monkeypatch.setattr(Batches, "save", failing)
    lines = [request_line(str(i)) for i in range(20)]
    async with serve() as client:
        batch = await ended(client, (await create(client, lines)).id)
        assert batch.status == "completed"
        assert failures == ["in_progress"] * 2 + ["completed"] * 2
        good = await content(client, batch.output_file_id)
        assert len(good) == batch.request_counts.completed == 20
        assert len(engine.requests) == 20
        for file in [each.id async for each in client.files.list()]:
            await client.files.delete(file)
    assert open_state(tmp_path / "state", LIMITS).files.space.used == 0


async def test_many_who_delete_a_file_give_its_room_back_once(serve: Serve, tmp_path: Path) -> None:
    limits = BatchLimits(file_size=100_000, lines=10, line_size=1000, space=150_000)
    async with serve(limits) as client:
        first = await client.files.create(file=("a", b"x" * 100_000), purpose="batch")
        results = await asyncio.gather(*(client.files.delete(first.id) for _ in range(16)), return_exceptions=True)
        assert all(isinstance(each, openai.NotFoundError) or each.deleted for each in results)
        await client.files.create(file=("b", b"x" * 100_000), purpose="batch")
        with pytest.raises(openai.APIStatusError) as caught:
            await client.files.create(file=("c", b"x" * 90_000), purpose="batch")
        assert caught.value.status_code == 507


async def test_batches_leave_seats_for_others_and_stand_behind_them(serve: Serve, engine: FakeEngine) -> None:
    engine.gate = asyncio.Event()
    async with serve() as client:
        batch = await create(client, [request_line(str(i)) for i in range(50)])
        seats = engine.info.max_num_seqs
        await until(lambda: len(engine.requests) >= seats - 1)
        await asyncio.sleep(0.2)
        assert len(engine.requests) == seats - 1
        assert {request.share.priority for request in engine.requests} == {BEHIND}
        asked = [
            asyncio.create_task(client.completions.create(model="base", prompt="now", max_tokens=5)) for _ in range(5)
        ]
        await until(lambda: len(engine.requests) == seats - 1 + 5)
        assert {request.share.priority for request in engine.requests[seats - 1 :]} == {0}
        engine.gate.set()
        await asyncio.gather(*asked)
        assert (await ended(client, batch.id)).request_counts.completed == 50


async def test_what_is_wrong_with_a_request_is_named(serve: Serve) -> None:
    async with serve(admin_key=["admin"]) as client:
        file = await client.files.create(file=("in", b"x"), purpose="batch")
        good = {"input_file_id": file.id, "endpoint": "/v1/completions", "completion_window": "24h"}
        for change, param in (
            ({"input_file_id": "file-nothing"}, "input_file_id"),
            ({"endpoint": "/v1/moderations"}, "endpoint"),
            ({"completion_window": "1h"}, "completion_window"),
            ({"metadata": {"a": "x" * 513}}, "metadata"),
            ({"extra_body": {"priority_level": 1}}, "priority_level"),
        ):
            with pytest.raises(openai.BadRequestError) as caught:
                await client.batches.create(**{**good, **change})
            assert caught.value.body["param"] == param
        for purpose in ("fine-tune", "assistants"):
            with pytest.raises(openai.BadRequestError, match="'purpose' must be 'batch'"):
                await client.files.create(file=("in", b"x"), purpose=purpose)
        for ask in (
            client.batches.list(after="batch_x"),
            client.files.list(after="file-x"),
            client.batches.list(limit=0),
        ):
            with pytest.raises(openai.BadRequestError):
                await ask
        with pytest.raises(openai.NotFoundError):
            await client.batches.retrieve("batch_x")


async def test_a_file_in_use_is_kept(serve: Serve, engine: FakeEngine) -> None:
    engine.gate = asyncio.Event()
    async with serve() as client:
        batch = await create(client, [request_line("a")])
        with pytest.raises(openai.ConflictError):
            await client.files.delete(batch.input_file_id)
        engine.gate.set()
        await ended(client, batch.id)
        await client.files.delete(batch.input_file_id)


async def test_files_are_bounded_one_by_one_and_together(serve: Serve, tmp_path: Path) -> None:
    limits = BatchLimits(file_size=100_000, lines=10, line_size=1000, space=150_000)
    async with serve(limits) as client:
        first = await client.files.create(file=("a", b"x" * 100_000), purpose="batch")
        with pytest.raises(openai.APIStatusError) as caught:
            await client.files.create(file=("b", b"x" * 200_000), purpose="batch")
        assert caught.value.status_code == 413
        with pytest.raises(openai.APIStatusError) as caught:
            await client.files.create(file=("b", b"x" * 90_000), purpose="batch")
        assert (caught.value.status_code, caught.value.code) == (507, "disk_full")
        await client.files.delete(first.id)
        await client.files.create(file=("b", b"x" * 90_000), purpose="batch")
    assert len(list((tmp_path / "state" / "files").iterdir())) == 1


async def test_a_full_disk_fails_a_batch_and_keeps_what_was_answered(serve: Serve) -> None:
    lines = [request_line(str(i)) for i in range(200)]
    limits = BatchLimits(file_size=1 << 20, lines=500, line_size=1 << 16, space=len(jsonl(lines)) + 20_000)
    async with serve(limits) as client:
        batch = await ended(client, (await create(client, lines)).id)
        assert (batch.status, batch.errors.data[0].code) == ("failed", "disk_full")
        found = await content(client, batch.output_file_id)
        assert 0 < len(found) == batch.request_counts.completed < 200


async def test_uploads_that_are_no_forms_leave_nothing(serve: Serve, tmp_path: Path) -> None:
    async with serve() as client:
        http = client._client
        url = f"{client.base_url}files"
        kind = {"content-type": "multipart/form-data; boundary=x"}
        head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        purpose = b'\r\n--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        for body, headers, status in (
            (b"{}", {"content-type": "application/json"}, 415),
            (b"{}", {"content-type": "multipart/form-data"}, 415),
            (b"nothing", kind, 400),
            (head + b"half of it", kind, 400),
            (head + b"data" + purpose + b"--x\r\n" + head.removeprefix(b"--x\r\n") + b"again\r\n--x--\r\n", kind, 400),
            (head + b"data\r\n--x--\r\n", kind, 400),
            (head + b"data" + purpose.replace(b"batch", b"b" * 5000) + b"--x--\r\n", kind, 400),
            (purpose.removeprefix(b"\r\n") + b"--x--\r\n", kind, 400),
            (head + b"data" + purpose + b"--x--\r\n", kind, 200),
        ):
            response = await http.post(url, content=body, headers=headers)
            assert response.status_code == status, (body, response.text)
    assert [path.read_bytes() for path in (tmp_path / "state" / "files").iterdir()] == [b"data"]


async def test_without_a_folder_the_flag_is_named(api: Api) -> None:
    for method, path in (("GET", "/v1/files"), ("POST", "/v1/files"), ("GET", "/v1/batches"), ("POST", "/v1/batches")):
        response = await api.ask(method, path, {})
        assert response.status_code == 501
        assert "--state-dir" in response.json()["error"]["message"]


async def test_a_tenant_has_its_own_files_and_the_rights_of_its_key(
    serve: Serve, engine: FakeEngine, tmp_path: Path
) -> None:
    folder = tmp_path / "tenants"
    id, own = make_key(folder, "acme", adapters=["alpha"])
    _, other = make_key(folder, "globex")
    async with serve(key=own, state_dir=folder) as client:
        batch = await create(client, [request_line("a", "alpha"), request_line("b", "beta")])
        batch = await ended(client, batch.id)
        assert set(await content(client, batch.output_file_id)) == {"a"}
        bad = await content(client, batch.error_file_id)
        assert bad["b"]["response"]["status_code"] == 404
        assert engine.requests[0].share.tenant == "acme"
        stranger = client.with_options(api_key=other)
        assert [each async for each in stranger.files.list()] == []
        assert [each async for each in stranger.batches.list()] == []
        for ask in (
            stranger.files.content(batch.output_file_id),
            stranger.files.delete(batch.input_file_id),
            stranger.batches.retrieve(batch.id),
            stranger.batches.cancel(batch.id),
        ):
            with pytest.raises(openai.NotFoundError):
                await ask
        with pytest.raises(openai.BadRequestError, match="There is no file"):
            await stranger.batches.create(
                input_file_id=batch.input_file_id, endpoint="/v1/completions", completion_window="24h"
            )
        engine.gate = asyncio.Event()
        batch = await create(client, [request_line(str(i), "alpha") for i in range(20)])
        await until(lambda: len(engine.requests) > 4)
        revoke_key(folder, id)
        engine.gate.set()
        files, before = tmp_path / "state" / "files", len("ab") * 2 + 20
        await until(lambda: sum(path.read_bytes().count(b"\n") for path in files.iterdir()) == before + 20)
    state = open_state(tmp_path / "state", LIMITS)
    (batch, _) = state.batches.page("acme", Cursor(None, 5))[0]
    bad = answers_in(state.files.path(batch.error_id))
    state.close()
    assert {answer["response"]["body"]["error"]["code"] for answer in bad.values()} == {"invalid_api_key"}


async def test_a_draining_server_gives_up_its_batches_and_keeps_them(
    make_api: Callable[..., Api], engine: FakeEngine, tmp_path: Path
) -> None:
    state = open_state(tmp_path / "state", LIMITS)
    api = make_api(state=state)
    engine.gate = asyncio.Event()
    async with serve_app(api) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        batch = await create(client, [request_line(str(i)) for i in range(20)])
        await until(lambda: len(engine.requests) > 4)
        assert not api.services.drain.done
        api.services.drain.begin()
        await until(lambda: api.services.drain.done)
        assert len(engine.closed_early) == len(engine.requests)
    assert [(each.id, each.status) for each in state.batches.unfinished()] == [(batch.id, "in_progress")]
    state.close()
