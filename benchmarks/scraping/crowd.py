"""Many adapters and many tenants on one server, and their traffic."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx

TOKENS = 8  # of an answer


def copy_adapters(demo: Path, folder: Path, count: int) -> list[str]:
    """So many adapters under names of their own, copies in turn of the demo's."""
    originals = sorted(path for path in demo.iterdir() if path.is_dir())
    names = [f"adapter-{number:03}" for number in range(count)]
    for name, original in zip(names, itertools.cycle(originals)):
        shutil.copytree(original, folder / name)
    return names


async def make_keys(client: httpx.AsyncClient, admin: str, count: int) -> list[str]:
    """A key of each of so many tenants.

    Raises:
        httpx.HTTPStatusError: the server makes none.
    """
    keys = []
    for number in range(count):
        body = {"tenant": f"tenant-{number:03}"}
        made = await client.post("/v1/keys", json=body, headers={"authorization": f"Bearer {admin}"})
        keys.append(str(made.raise_for_status().json()["secret"]))
    return keys


class Crowd:
    """Requests of all tenants in turn, each for an adapter of its own.

    Args:
        client: of the server.
        adapters: names.
        keys: of the tenants, as many as there are adapters.
    """

    def __init__(self, client: httpx.AsyncClient, adapters: Sequence[str], keys: Sequence[str]) -> None:
        self._client = client
        self._turns = itertools.cycle(zip(adapters, keys, strict=True))
        self._size = len(adapters)
        self.answered = 0

    async def one_round(self) -> None:
        """A request of each, so that all have their series."""
        for _ in range(self._size):
            await self._ask()

    @contextlib.asynccontextmanager
    async def sending(self, rate: float) -> AsyncIterator[None]:
        """So many requests a second at even intervals while the block runs; all are answered when it ends."""
        sender = asyncio.create_task(self._send(rate))
        try:
            yield
        finally:
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):  # an answer that was none is raised
                await sender

    async def _send(self, rate: float) -> None:
        due, asking = time.perf_counter(), set[asyncio.Task[None]]()
        try:
            while True:
                due += 1 / rate
                await asyncio.sleep(max(due - time.perf_counter(), 0))
                asking.add(asyncio.create_task(self._ask()))
        finally:
            await asyncio.gather(*asking)

    async def _ask(self) -> None:
        adapter, key = next(self._turns)
        body = {"model": adapter, "prompt": "hello there", "max_tokens": TOKENS, "ignore_eos": True}
        answer = await self._client.post("/v1/completions", json=body, headers={"authorization": f"Bearer {key}"})
        answer.raise_for_status()
        self.answered += 1
