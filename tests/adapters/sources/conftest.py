from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from support.hub_stub import HubStub, go_online
from support.loopback import Loopback

from loraplex_adapters.sources import Address, DiskCache, Fetcher, SizeLimits, parse_address
from loraplex_adapters.sources import fetcher as fetcher_module
from loraplex_adapters.sources.address import Kind
from loraplex_adapters.sources.listing import Remote
from loraplex_adapters.sources.remotes.hub import HubRemote

Fetch = Callable[..., Fetcher]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher_module, "RETRY_PAUSE_S", 0)


@pytest.fixture(autouse=True)
def _swept() -> Iterator[None]:
    """A connection that a stub breaks off is closed by asyncio a turn later, when the test's loop may have ended."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "cache", 1 << 20)


@pytest.fixture
async def fetch(cache: DiskCache) -> AsyncIterator[Fetch]:
    """`fetch(kind, remote, **options)` makes a Fetcher that is closed after the test."""
    made: list[Fetcher] = []

    def make(
        kind: Kind, remote: Remote, *, tensors: int = 1 << 20, into: DiskCache = cache, **options: float
    ) -> Fetcher:
        made.append(Fetcher({kind: remote}, into, SizeLimits(tensors), **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> HubStub:
    go_online(monkeypatch)
    return HubStub()


@pytest.fixture
def hub_url(hub: HubStub) -> Iterator[str]:
    with Loopback(hub.app) as server:
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
async def hub_fetcher(fetch: Fetch, hub_url: str) -> Fetcher:
    return fetch("hf", HubRemote(hub_url, HubStub.TOKEN), revalidate_s=0)


@pytest.fixture
def address() -> Address:
    return parse_address("org/adapter")
