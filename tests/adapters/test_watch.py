from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.adapter_files import adapter_files

from loraplex_adapters import watch
from loraplex_adapters.catalog import Catalog
from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.sources import AllowedSources, Sources

Next = Callable[[], "asyncio.Future[frozenset[str]]"]


def write(folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in adapter_files(seed, values=64 + seed).items():
        (folder / name).write_bytes(content)


@asynccontextmanager
async def watching(catalog: Catalog, polling: bool) -> AsyncIterator[asyncio.Queue[frozenset[str]]]:
    told: asyncio.Queue[frozenset[str]] = asyncio.Queue()

    async def follow() -> None:
        async for names in watch.changes(catalog, polling=polling, poll_s=0.05, settle_s=0.1):
            told.put_nowait(names)

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.3)  # until it has seen what is there
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("polling", [False, True])
async def test_what_is_new_or_changed_is_told_once_it_is_whole(tmp_path: Path, polling: bool) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, 0)
    catalog = Catalog(tmp_path)
    async with watching(catalog, polling) as told:
        write(tmp_path / "a", 1)
        assert await asyncio.wait_for(told.get(), 5) == {"a"}
        write(tmp_path / "new", 1)
        assert await asyncio.wait_for(told.get(), 5) == {"new"}
        with (tmp_path / "b" / TENSOR_FILE).open("wb") as file:  # a trainer that takes its time
            for _ in range(6):
                file.write(b"x" * 100)
                file.flush()
                await asyncio.sleep(0.03)
        assert await asyncio.wait_for(told.get(), 5) == {"b"}
        os.replace(tmp_path / "a", tmp_path / "gone")  # told under its new name alone
        assert await asyncio.wait_for(told.get(), 5) == {"gone"}
        assert told.empty()


async def test_folders_that_were_added_are_watched_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "RESCAN_S", 0.2)
    catalog = Catalog(None, sources=Sources(AllowedSources([str(tmp_path)])))
    async with watching(catalog, polling=False) as told:
        write(tmp_path / "far", 0)
        await catalog.add("x", str(tmp_path / "far"))
        assert await asyncio.wait_for(told.get(), 5) == {"x"}
        write(tmp_path / "far", 1)
        assert await asyncio.wait_for(told.get(), 5) == {"x"}


async def test_a_folder_that_is_deleted_is_watched_again_when_it_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "RESCAN_S", 0.2)
    root = tmp_path / "root"
    write(root / "a", 0)
    catalog = Catalog(root)
    async with watching(catalog, polling=False) as told:
        root.rename(tmp_path / "away")
        await asyncio.sleep(0.5)
        write(root / "a", 1)
        assert await asyncio.wait_for(told.get(), 5) == {"a"}
