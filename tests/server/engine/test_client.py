"""The engine process behind its client: real processes, real sockets, and what happens when they die."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import psutil
import pytest
from support.api import until
from support.checkpoints import write_base

from loraplex_server.engine.client import EngineClient
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.errors import EngineStartError
from loraplex_server.engine.interface import (
    DeadlineExceededError,
    EngineDeadError,
    InvalidRequestError,
    QueueFullError,
)
from loraplex_server.engine.messages import Delta, GenerateRequest, SamplingParams


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


def config(model: Path, **options: object) -> EngineConfig:
    return EngineConfig(model=str(model), dtype="float32", threads=1, kv_cache_memory=4 << 20, **options)


@pytest.fixture
async def client(model: Path) -> AsyncIterator[EngineClient]:
    client = EngineClient(config(model, max_num_seqs=2, max_queued_requests=1))
    await client.start()
    yield client
    await client.close()


def asking(request_id: str, max_tokens: int = 5, prompt: tuple[int, ...] = (1, 2, 3), n: int = 1) -> GenerateRequest:
    sampling = SamplingParams(max_tokens=max_tokens, temperature=0.0)
    return GenerateRequest(request_id=request_id, prompt_token_ids=list(prompt), sampling=sampling, n=n)


def long(request_id: str) -> GenerateRequest:
    """More than an engine finishes before it is ended."""
    return asking(request_id, max_tokens=200, n=40)


async def answer(client: EngineClient, request: GenerateRequest) -> list[Delta]:
    return [delta async for delta in client.generate(request)]


async def test_each_answer_ends_once_and_the_stats_come_to_rest(client: EngineClient) -> None:
    deltas = await answer(client, asking("a", n=2))
    for index in (0, 1):
        mine = [delta for delta in deltas if delta.index == index]
        assert sum(len(delta.token_ids) for delta in mine) == 5
        assert [delta.finish_reason for delta in mine] == [None] * (len(mine) - 1) + ["length"]
    await until(lambda: client.stats.kv_used_blocks == 0 and client.stats.running == 0)


async def test_leaving_early_aborts_and_frees_the_place(client: EngineClient) -> None:
    stream = client.generate(asking("a", max_tokens=200))
    await anext(stream)
    await stream.aclose()
    stats = client.stats
    await until(lambda: client.stats is not stats and client.stats.running == 0)
    assert len(await answer(client, asking("b"))) == 5


async def test_a_full_queue_refuses_and_says_when_to_come_back(client: EngineClient) -> None:
    streams = [client.generate(asking(str(i), max_tokens=200)) for i in range(3)]
    first = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.wait(first[:2])
    with pytest.raises(QueueFullError) as refusal:
        await answer(client, asking("late"))
    assert 1 <= refusal.value.retry_after <= 60
    first[2].cancel()
    await asyncio.wait(first)
    for stream in streams:
        await stream.aclose()
    assert await answer(client, asking("late"))


async def test_a_request_that_the_engine_refuses_is_the_callers_error(client: EngineClient) -> None:
    with pytest.raises(InvalidRequestError, match="vocabulary"):
        await answer(client, asking("a", prompt=(10**6,)))


async def test_a_request_without_time_ends_and_says_so(client: EngineClient) -> None:
    with pytest.raises(DeadlineExceededError, match="first token"):
        await answer(client, msgspec.structs.replace(asking("a"), timeout_s=1e-6))
    await until(lambda: client.stats.deadlines_total == 1)


async def test_a_killed_engine_ends_its_requests_and_comes_back(model: Path) -> None:
    client = EngineClient(config(model))
    first_pid = (await client.start()).pid
    stream = client.generate(long("a"))
    await anext(stream)
    os.kill(first_pid, signal.SIGKILL)
    with pytest.raises(EngineDeadError):
        async for _ in stream:
            pass
    assert not client.healthy
    with pytest.raises(EngineDeadError):
        await answer(client, asking("b"))
    await until(lambda: client.healthy)
    assert client.info.pid != first_pid
    assert client.restarts == 1
    assert len(await answer(client, asking("c"))) == 5
    await client.close()


async def test_an_engine_that_stands_still_ends_its_requests_and_is_replaced(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = EngineClient(config(model, engine_step_timeout=5.0))
    stuck = (await client.start()).pid
    stream = client.generate(long("a"))
    await anext(stream)
    os.kill(stuck, signal.SIGSTOP)
    with pytest.raises(EngineDeadError):
        async for _ in stream:
            pass
    await until(lambda: client.healthy)
    assert client.info.pid != stuck
    assert not psutil.pid_exists(stuck)
    assert len([line for line in caplog.messages if "said nothing for 5 s, and was killed; restart" in line]) == 1
    assert len(await answer(client, asking("b"))) == 5
    await client.close()


async def test_an_engine_that_cannot_be_started_again_now_is_started_later(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = EngineClient(config(model))
    first_pid = (await client.start()).pid
    with monkeypatch.context() as folders:
        folders.setattr(tempfile, "tempdir", str(tmp_path / "deleted"))
        os.kill(first_pid, signal.SIGKILL)
        await until(lambda: any("could not be started: [Errno 2]" in line for line in caplog.messages))
        assert not client.healthy
    await until(lambda: client.healthy)
    assert client.restarts >= 2
    assert len(await answer(client, asking("a"))) == 5
    await client.close()


async def test_an_engine_without_sockets_is_a_failed_start(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("long" * 40)  # an address in it is longer than a socket's may be
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    client = EngineClient(config(model))
    with pytest.raises(EngineStartError, match=r"could not be started: .*no sockets for it"):
        await client.start()
    await client.close()
    assert not list(deep.iterdir())


async def test_an_engine_without_work_goes_on_saying_that_it_is_there(client: EngineClient) -> None:
    child = client._child
    before = child.heard
    await until(lambda: child.heard >= before + 3)


async def test_each_word_of_the_engine_is_told_however_long_nobody_listened(client: EngineClient) -> None:
    steps: list[int] = []
    client.tell(lambda info, stats: steps.extend(stats.steps.tokens))
    for turn in range(3):
        stream = client.generate(asking(f"a{turn}", max_tokens=200))
        await anext(stream)
        time.sleep(0.6)  # noqa: ASYNC251, the engine says more than one word meanwhile
        async for _ in stream:
            pass
    await until(lambda: len(steps) >= 3 * 200)


async def test_a_signal_that_is_meant_for_the_server_does_not_end_its_engine(client: EngineClient) -> None:
    """Some supervisors send it to each process of a service: the server answers what is in flight before it ends."""
    stream = client.generate(asking("a", max_tokens=200))
    await anext(stream)
    os.kill(client.info.pid, signal.SIGTERM)
    assert sum([len(delta.token_ids) async for delta in stream]) == 199
    assert client.restarts == 0


async def test_a_request_that_meets_an_engine_just_killed_fails_like_the_others(client: EngineClient) -> None:
    os.kill(client.info.pid, signal.SIGKILL)
    results = await asyncio.gather(*(answer(client, asking(str(i))) for i in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [EngineDeadError] * 3


async def test_closing_while_a_dead_engine_is_buried_still_fails_what_is_in_flight(model: Path) -> None:
    client = EngineClient(config(model))
    info = await client.start()
    stream = client.generate(long("a"))
    await anext(stream)
    os.kill(info.pid, signal.SIGKILL)
    await until(lambda: not client.healthy)
    await client.close()
    with pytest.raises(EngineDeadError):
        async for _ in stream:
            pass


async def test_more_answers_than_could_ever_wait_are_the_callers_error(client: EngineClient) -> None:
    with pytest.raises(InvalidRequestError, match="takes 3 at the most"):
        await answer(client, asking("a", n=4))


async def test_closing_ends_the_process_and_fails_what_is_in_flight(model: Path) -> None:
    client = EngineClient(config(model))
    info = await client.start()
    stream = client.generate(long("a"))
    await anext(stream)
    await client.close()
    with pytest.raises(EngineDeadError):
        async for _ in stream:
            pass
    with pytest.raises(ProcessLookupError):
        os.kill(info.pid, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"max_model_len": 4096}, "256"), ({"device": "cuda"}, "--device cuda"), ({"max_model_len": 256}, "--max-model")],
)
async def test_an_engine_that_cannot_start_says_why(model: Path, options: dict, message: str) -> None:
    if options == {"max_model_len": 256}:
        client = EngineClient(EngineConfig(model=str(model), kv_cache_memory=1000, **options))
    else:
        client = EngineClient(config(model, **options))
    with pytest.raises(EngineStartError, match=message):
        await client.start()
    await client.close()


async def test_an_engine_that_ends_before_it_was_told_anything_is_started_again(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = EngineClient(config(model))
    first_pid = (await client.start()).pid

    def closed(self: asyncio.StreamWriter, data: bytes) -> None:
        raise RuntimeError("unable to perform operation: the handler is closed")  # uvloop's words

    with monkeypatch.context() as pipes:
        pipes.setattr(asyncio.StreamWriter, "write", closed)
        os.kill(first_pid, signal.SIGKILL)
        await until(lambda: any("it ended before it was told" in line for line in caplog.messages))
    await until(lambda: client.healthy)
    assert len(await answer(client, asking("a"))) == 5
    await client.close()
