"""What becomes of requests, adapters and processes when one of the ranks fails, dies or stands still."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from support.api import until
from support.checkpoints import prompt, write_adapter
from support.engines import make_engine, request, run

from loraplex_adapters.fingerprint import fingerprint
from loraplex_adapters.source import AdapterSource
from loraplex_server.engine.client import EngineClient
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.interface import EngineDeadError
from loraplex_server.engine.messages import AdapterUse, Delta, GenerateRequest, SamplingParams

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("here", "there")):
        write_adapter(base, root / name / "a", seed=seed, r=4, target_modules=["q_proj", "down_proj"])
    return root


@pytest.fixture
def core(base: Path, adapters: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineCore]:
    """Whose other rank was started in another folder than this one is in: a path below /proc/self/cwd is two."""
    monkeypatch.chdir(adapters / "there")
    core = make_engine(base, tensor_parallel_size=2, threads=1)
    monkeypatch.chdir(adapters / "here")
    yield core
    core.close()


def on(request_id: str, adapter: str) -> GenerateRequest:
    """A request on an adapter in the working folder of whoever reads it."""
    path = f"/proc/self/cwd/{adapter}"
    use = AdapterUse(AdapterSource(name=adapter, path=path, fingerprint=fingerprint(path)))
    return msgspec.structs.replace(request(request_id, prompt(5, 1)), adapters=(use,))


def test_an_adapter_that_one_rank_cannot_have_is_nobodys(core: EngineCore, adapters: Path) -> None:
    outputs = run(core, [on("two", "a"), request("base", prompt(5, 2))])
    # One rank reads other content than the other: as if it had been replaced meanwhile.
    failure = outputs["two", 0].failure
    assert failure is not None
    assert "was replaced while it was being read" in failure.message
    assert outputs["base", 0].failure is None
    shutil.copytree(adapters / "here" / "a", adapters / "here" / "b")
    failure = run(core, [on("one", "b")])["one", 0].failure
    assert failure is not None
    assert failure.message.endswith("(rank 1)")
    shutil.copytree(adapters / "here" / "a", adapters / "there" / "b", copy_function=shutil.copy2)
    assert run(core, [on("again", "b")])["again", 0].failure is None
    assert core.store.stats().resident == ("b",)


@pytest.fixture
async def client(base: Path) -> AsyncIterator[EngineClient]:
    client = EngineClient(
        EngineConfig(
            model=str(base), device="cpu", dtype="float32", threads=1, kv_cache_memory=4 << 20, tensor_parallel_size=2
        )
    )
    await client.start()
    yield client
    await client.close()


def asking(request_id: str, max_tokens: int, n: int = 1) -> GenerateRequest:
    sampling = SamplingParams(max_tokens=max_tokens, temperature=0.0)
    return GenerateRequest(request_id=request_id, prompt_token_ids=[1, 2, 3], sampling=sampling, n=n)


def engine_pid(client: EngineClient) -> int:
    assert client.info is not None
    return client.info.pid


def follower_pid(engine: int) -> int:
    (pid,) = (int(child) for child in Path(f"/proc/{engine}/task/{engine}/children").read_text().split())
    return pid


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def answer(client: EngineClient, asked: GenerateRequest) -> list[Delta]:
    return [delta async for delta in client.generate(asked)]


@pytest.mark.parametrize("busy", [True, False])
async def test_the_death_of_a_follower_ends_the_requests_and_starts_all_ranks_anew(
    client: EngineClient, busy: bool
) -> None:
    engine = engine_pid(client)
    follower = follower_pid(engine)
    if busy:
        stream = client.generate(asking("long", 200, n=40))  # more than it could finish meanwhile
        await anext(stream)
    os.kill(follower, signal.SIGKILL)
    if busy:
        with pytest.raises(EngineDeadError):
            async for _ in stream:
                pass
    await until(lambda: gone(engine))
    await until(lambda: client.healthy and engine_pid(client) != engine)
    assert len(await answer(client, asking("again", 3))) == 3


async def test_a_follower_that_is_stopped_is_killed_and_all_ranks_start_anew(client: EngineClient) -> None:
    """Nothing else would end its process, and what that holds would be missing at the next start."""
    engine = engine_pid(client)
    follower = follower_pid(engine)
    stream = client.generate(asking("long", 200))
    await anext(stream)
    os.kill(follower, signal.SIGSTOP)
    with pytest.raises(EngineDeadError):
        async for _ in stream:
            pass
    await until(lambda: gone(follower))
    await until(lambda: client.healthy and engine_pid(client) != engine)
    assert client.restarts == 1
    assert len(await answer(client, asking("again", 3))) == 3


async def test_ranks_that_all_stand_still_are_killed_together(base: Path) -> None:
    """Who is stopped does not see that the others are gone, and would keep its memory from those that follow."""
    config = EngineConfig(model=str(base), device="cpu", threads=1, kv_cache_memory=4 << 20, tensor_parallel_size=2)
    client = EngineClient(msgspec.structs.replace(config, engine_step_timeout=5.0))
    await client.start()
    engine = engine_pid(client)
    follower = follower_pid(engine)
    for pid in (follower, engine):
        os.kill(pid, signal.SIGSTOP)
    await until(lambda: gone(engine) and gone(follower))
    await until(lambda: client.healthy and engine_pid(client) != engine)
    await client.close()


async def test_without_rank_0_no_follower_stays(client: EngineClient) -> None:
    engine = engine_pid(client)
    follower = follower_pid(engine)
    os.kill(engine, signal.SIGKILL)
    await until(lambda: gone(follower))


async def test_without_rank_0_not_even_a_stopped_follower_stays(client: EngineClient) -> None:
    """It does not see that it is alone, and would keep its memory from those that follow."""
    engine = engine_pid(client)
    follower = follower_pid(engine)
    os.kill(follower, signal.SIGSTOP)
    os.kill(engine, signal.SIGKILL)
    await until(lambda: gone(follower))
    await until(lambda: client.healthy and engine_pid(client) != engine)


async def test_signals_that_are_meant_for_the_server_end_no_rank(client: EngineClient) -> None:
    engine = engine_pid(client)
    stream = client.generate(asking("a", 200))
    await anext(stream)
    for pid in (engine, follower_pid(engine)):
        os.kill(pid, signal.SIGTERM)
    assert sum([len(delta.token_ids) async for delta in stream]) == 199
    assert client.restarts == 0


async def test_a_close_leaves_no_process(client: EngineClient) -> None:
    assert len(await answer(client, asking("a", 3))) == 3
    engine = engine_pid(client)
    follower = follower_pid(engine)
    await client.close()
    assert gone(engine)
    assert gone(follower)


async def test_a_follower_that_dies_while_it_starts_is_told_as_a_failed_start(base: Path) -> None:
    client = EngineClient(EngineConfig(model=str(base), device="cpu", threads=1, tensor_parallel_size=2))
    starting = asyncio.create_task(client.start())
    try:
        pids: list[int] = []

        def found() -> bool:
            child = client._child
            children = "" if child is None or not child.pid else _children(child.pid)
            pids[:] = map(int, children.split())
            return bool(pids)

        await until(found)
        os.kill(pids[0], signal.SIGKILL)
        with pytest.raises(Exception, match="rank 1 ended before it was ready"):
            await starting
    finally:
        starting.cancel()
        await client.close()


def _children(pid: int) -> str:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return path.read_text() if path.exists() else ""
