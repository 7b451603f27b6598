"""Adapters that are loaded, and pinned, before any request asks for them: through real processes and sockets."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.api import until
from support.checkpoints import write_adapters, write_base

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.report import AdapterEntry
from loraplex_server.engine.client import EngineClient
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.interface import AdapterUnusableError, EngineDeadError
from loraplex_server.engine.messages import AdapterUse, GenerateRequest, SamplingParams


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def saved(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    variants = {name: {"r": 4, "target_modules": ["q_proj", "v_proj"]} for name in "abcd"}
    return write_adapters(model, tmp_path_factory.mktemp("saved"), variants)


@pytest.fixture
def catalog(saved: Path, tmp_path: Path) -> Catalog:
    shutil.copytree(saved, tmp_path / "adapters")
    return Catalog(tmp_path / "adapters")


async def started(model: Path, budget: int) -> EngineClient:
    client = EngineClient(
        EngineConfig(model=str(model), dtype="float32", threads=1, kv_cache_memory=4 << 20, adapter_memory=budget)
    )
    await client.start()
    return client


@pytest.fixture
async def client(model: Path) -> AsyncIterator[EngineClient]:
    client = await started(model, 64 << 20)
    yield client
    await client.close()


async def entries(client: EngineClient) -> dict[tuple[str, str], AdapterEntry]:
    """As they are in a word that the engine says from now on."""
    before = client.stats
    await until(lambda: client.stats is not before)
    before = client.stats
    await until(lambda: client.stats is not before)
    return {(each.name, each.generation): each for each in client.stats.adapters.entries}


async def generation_of(client: EngineClient, catalog: Catalog, name: str) -> str:
    request = GenerateRequest(
        request_id=f"asks {name}",
        prompt_token_ids=[1, 2],
        sampling=SamplingParams(max_tokens=1, temperature=0.0),
        adapters=(AdapterUse(catalog.resolve(name)),),
    )
    deltas = [delta async for delta in client.generate(request)]
    assert deltas[0].started is not None
    return deltas[0].started.generation


async def test_a_prepared_adapter_is_in_memory_before_anybody_asks(client: EngineClient, catalog: Catalog) -> None:
    now = time.time()
    prepared = await client.prepare(catalog.resolve("a"), pin=False)
    entry = (await entries(client))["a", prepared.generation]
    assert (entry.tier, entry.nbytes, entry.pinned, entry.in_flight) == ("device", prepared.nbytes, False, 0)
    assert now <= entry.last_used <= time.time()
    assert await generation_of(client, catalog, "a") == prepared.generation
    assert client.stats.adapters.loads_total == 1


async def test_what_cannot_be_served_is_refused_with_its_reasons(client: EngineClient, catalog: Catalog) -> None:
    path = Path(catalog.resolve("a").path) / TENSOR_FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AdapterUnusableError, match=r"adapter 'a' is refused: .*safetensors"):
        await client.prepare(catalog.resolve("a"), pin=True)
    assert await entries(client) == {}


async def test_pins_move_with_their_name_and_go_with_unpin(client: EngineClient, catalog: Catalog) -> None:
    old = await client.prepare(catalog.resolve("a"), pin=True)
    assert (await entries(client))["a", old.generation].pinned
    shutil.copy(Path(catalog.resolve("b").path) / TENSOR_FILE, catalog.resolve("a").path)
    new = await client.prepare(catalog.resolve("a"), pin=True)
    assert new.generation != old.generation
    assert [each.generation for each in (await entries(client)).values() if each.pinned] == [new.generation]
    await client.unpin("a")
    assert not any(each.pinned for each in (await entries(client)).values())


async def test_of_several_words_about_a_pin_the_latest_counts(client: EngineClient, catalog: Catalog) -> None:
    preparing = asyncio.create_task(client.prepare(catalog.resolve("a"), pin=True))
    await asyncio.sleep(0)  # it is on its way
    await client.unpin("a")
    prepared = await preparing
    assert not (await entries(client))["a", prepared.generation].pinned


async def test_pins_never_take_what_all_others_need(model: Path, client: EngineClient, catalog: Catalog) -> None:
    size = (await client.prepare(catalog.resolve("a"), pin=False)).nbytes
    small = await started(model, 4 * size)
    try:
        for name in "abc":
            await small.prepare(catalog.resolve(name), pin=True)
        with pytest.raises(AdapterUnusableError, match=rf"pinned .* {4 * size} of the {4 * size} .* {size} must stay"):
            await small.prepare(catalog.resolve("d"), pin=True)
        assert {name for name, _ in await entries(small)} == set("abcd")  # prepared, though not pinned
        for name in "abcd":
            assert await generation_of(small, catalog, name)
    finally:
        await small.close()


async def test_an_engine_that_dies_fails_the_preparation_and_forgets_the_pins(
    client: EngineClient, catalog: Catalog
) -> None:
    await client.prepare(catalog.resolve("a"), pin=True)
    os.kill(client.info.pid, signal.SIGKILL)
    with pytest.raises(EngineDeadError):
        await client.prepare(catalog.resolve("b"), pin=True)
    await client.unpin("a")
    await until(lambda: client.healthy)
    assert await entries(client) == {}
