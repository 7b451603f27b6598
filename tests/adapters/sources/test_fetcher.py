"""Many waiters, many adapters, one cache; the place is one that the test holds back as it likes."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.adapter_files import Files, adapter_files

from loraplex_adapters.errors import DiskFullError, SourceUnavailableError
from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.sources import Address, DiskCache, parse_address
from loraplex_adapters.sources import fetcher as fetcher_module
from loraplex_adapters.sources.listing import Listing, RemoteFile

from .conftest import Fetch


class GatedRemote:
    """`gate` holds back all bodies; counts what is asked at once."""

    def __init__(self) -> None:
        self.places: dict[str, Files] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.listed = self.read_now = self.most_read = 0
        self.down = False

    async def list(self, address: Address) -> Listing:
        self.listed += 1
        if self.down:
            raise SourceUnavailableError("down")
        files = self.places[address.path]
        return Listing(str(hash(tuple(files.values()))), tuple(RemoteFile(n, len(c), "t") for n, c in files.items()))

    async def read(self, address: Address, listing: Listing, file: RemoteFile) -> AsyncGenerator[bytes, None]:
        self.read_now += 1
        self.most_read = max(self.most_read, self.read_now)
        try:
            await self.gate.wait()
            yield self.places[address.path][file.name]
        finally:
            self.read_now -= 1

    async def close(self) -> None:
        pass


@pytest.fixture
def remote() -> GatedRemote:
    return GatedRemote()


def at(path: str) -> Address:
    return parse_address(f"s3://bucket/{path}")


async def until_reading(remote: GatedRemote, count: int) -> None:
    for _ in range(12_000):
        if remote.read_now >= count:
            return
        await asyncio.sleep(0.005)
    pytest.fail("nobody reads")


async def test_many_waiters_are_one_fetch(fetch: Fetch, remote: GatedRemote) -> None:
    fetcher = fetch("s3", remote)
    remote.places["a"] = adapter_files()
    held = await asyncio.gather(*(fetcher.open(at("a")) for _ in range(50)))
    assert remote.listed == 1
    assert len({each.path for each in held}) == 1
    for each in held:
        each.release()


async def test_a_waiter_that_leaves_takes_nobody_along(fetch: Fetch, remote: GatedRemote) -> None:
    fetcher = fetch("s3", remote)
    remote.places["a"] = adapter_files()
    remote.gate.clear()
    first, second = (asyncio.create_task(fetcher.open(at("a"))) for _ in range(2))
    await until_reading(remote, 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    remote.gate.set()
    (await second).release()
    assert remote.listed == 1


async def test_different_adapters_are_fetched_at_once_but_not_too_many(fetch: Fetch, remote: GatedRemote) -> None:
    fetcher = fetch("s3", remote, concurrency=3)
    for index in range(6):
        remote.places[str(index)] = adapter_files(index)
    remote.gate.clear()
    tasks = [asyncio.create_task(fetcher.open(at(str(index)))) for index in range(6)]
    await until_reading(remote, 3)
    await asyncio.sleep(0.05)
    assert remote.read_now == 3
    remote.gate.set()
    for held in await asyncio.gather(*tasks):
        held.release()
    assert remote.most_read == 3


async def test_closing_ends_fetches_and_leaves_nothing(fetch: Fetch, remote: GatedRemote, tmp_path: Path) -> None:
    fetcher = fetch("s3", remote)
    remote.places["a"] = adapter_files()
    remote.gate.clear()
    waiter = asyncio.create_task(fetcher.open(at("a")))
    await until_reading(remote, 1)
    await fetcher.close()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert not list((tmp_path / "cache" / "staging").iterdir())


async def test_waiters_that_are_cancelled_while_they_take_hold_hold_nothing(
    fetch: Fetch, remote: GatedRemote, tmp_path: Path
) -> None:
    remote.places["a"] = adapter_files()
    size = sum(len(content) for content in adapter_files().values())
    (await fetch("s3", remote, into=DiskCache(tmp_path / "cache", size)).open(at("a"))).release()
    for delay in (0, 0.0005, 0.001, 0.002, 0.005):
        again = DiskCache(tmp_path / "cache", size)  # has checked nothing: holding takes a thread
        task = asyncio.create_task(fetch("s3", remote, into=again).open(at("a")))
        await asyncio.sleep(delay)
        task.cancel()
        for held in await asyncio.gather(task, return_exceptions=True):
            if not isinstance(held, BaseException):
                held.release()
        assert not again._holds


async def test_a_copy_that_was_damaged_is_fetched_again(fetch: Fetch, remote: GatedRemote) -> None:
    fetcher = fetch("s3", remote)
    remote.places["a"] = adapter_files()
    held = await fetcher.open(at("a"))
    held.release()
    os.truncate(Path(held.path) / TENSOR_FILE, 5)
    again = await fetcher.open(at("a"))
    assert (Path(again.path) / TENSOR_FILE).read_bytes() == adapter_files()[TENSOR_FILE]
    assert remote.listed == 2
    again.release()


async def test_a_place_that_is_down_is_not_asked_on_every_request(
    fetch: Fetch, remote: GatedRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = 0.0
    moved = SimpleNamespace(time=lambda: time.time() + late, monotonic=lambda: time.monotonic() + late)
    monkeypatch.setattr(fetcher_module, "time", moved)
    fetcher = fetch("s3", remote, revalidate_s=1000)
    remote.places["a"] = adapter_files()
    (await fetcher.open(at("a"))).release()
    late += 1001
    remote.down = True
    for _ in range(5):
        (await fetcher.open(at("a"))).release()
    assert remote.listed == 1 + 2  # once, and once more
    remote.down = False
    remote.places["a"] = adapter_files(1)
    late += 1001
    held = await fetcher.open(at("a"))
    assert (Path(held.path) / TENSOR_FILE).read_bytes() == adapter_files(1)[TENSOR_FILE]
    held.release()


async def test_what_is_there_is_served_though_the_disk_is_full(
    fetch: Fetch, remote: GatedRemote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetcher = fetch("s3", remote, revalidate_s=0.2)
    remote.places |= {"a": adapter_files(), "b": adapter_files(1)}
    (await fetcher.open(at("a"))).release()

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    await asyncio.sleep(0.25)
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        for _ in range(3):
            (await fetcher.open(at("a"))).release()
        with pytest.raises(DiskFullError, match="'s3://bucket/b' cannot be fetched"):
            await fetcher.open(at("b"))
        remote.places["a"] = adapter_files(2)
        await asyncio.sleep(0.25)
        old = await fetcher.open(at("a"))
        assert (Path(old.path) / TENSOR_FILE).read_bytes() == adapter_files()[TENSOR_FILE]
        old.release()
    assert not list((tmp_path / "cache" / "staging").iterdir())
    await asyncio.sleep(0.25)
    new = await fetcher.open(at("a"))
    assert (Path(new.path) / TENSOR_FILE).read_bytes() == adapter_files(2)[TENSOR_FILE]
    new.release()


async def test_more_than_fits_is_an_error_and_room_comes_with_the_next_release(
    fetch: Fetch, remote: GatedRemote, tmp_path: Path
) -> None:
    size = sum(len(content) for content in adapter_files().values())
    fetcher = fetch("s3", remote, into=DiskCache(tmp_path / "small", size))
    remote.places |= {"a": adapter_files(1), "b": adapter_files(2)}
    first = await fetcher.open(at("a"))
    with pytest.raises(DiskFullError):
        await fetcher.open(at("b"))
    first.release()
    (await fetcher.open(at("b"))).release()
    assert fetcher.cached(at("a")) is None
    assert fetcher.has(at("b"))


async def test_what_was_fetched_serves_without_its_place_after_a_restart(
    fetch: Fetch, remote: GatedRemote, tmp_path: Path
) -> None:
    remote.places["a"] = adapter_files()
    (await fetch("s3", remote).open(at("a"))).release()
    remote.down = True
    held = await fetch("s3", remote, into=DiskCache(tmp_path / "cache", 1 << 20), revalidate_s=0).open(at("a"))
    held.release()


async def test_what_is_here_waits_for_no_fetch_of_another(fetch: Fetch, remote: GatedRemote) -> None:
    fetcher = fetch("s3", remote, concurrency=1, revalidate_s=0)
    remote.places |= {"here": adapter_files(1), "large": adapter_files(2)}
    (await fetcher.open(at("here"))).release()
    remote.gate.clear()
    large = asyncio.create_task(fetcher.open(at("large")))
    await until_reading(remote, 1)
    (await asyncio.wait_for(fetcher.open(at("here")), 30)).release()
    assert remote.listed == 3
    remote.gate.set()
    (await large).release()


async def test_what_is_here_is_served_though_nothing_can_be_locked(
    fetch: Fetch, remote: GatedRemote, cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetcher = fetch("s3", remote, revalidate_s=0)
    remote.places |= {"a": adapter_files(1), "b": adapter_files(2)}
    (await fetcher.open(at("a"))).release()

    class NoInodes:
        def acquire(self, *, wait: bool) -> bool:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache, "fetching", lambda key: NoInodes())
    (await fetcher.open(at("a"))).release()
    with pytest.raises(DiskFullError, match="cannot be used now"):
        await fetcher.open(at("b"))
    assert not cache._holds
