"""The loads of both tenants."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

VOCABULARY = range(32, 500)  # of prompts; any tokens do


@dataclass(frozen=True)
class Shape:
    """Tokens of a request."""

    prompt: int
    output: int

    def body(self, draw: random.Random, *, stream: bool) -> dict[str, object]:
        """One that no cache knows, and that ends with its last token."""
        return {
            "prompt": draw.choices(VOCABULARY, k=self.prompt),
            "max_tokens": self.output,
            "ignore_eos": True,
            "temperature": 0,
            "stream": stream,
        }


@dataclass
class Told:
    """Of one load: times to first tokens, in seconds, and how its requests ended."""

    first: list[float] = field(default_factory=list)
    answered: int = 0
    refused: int = 0


async def light(client: httpx.AsyncClient, shape: Shape, rate: float, seconds: float, seed: int) -> Told:
    """Streams at random moments, so many a second on average, whether or not those before are answered.

    Raises:
        httpx.HTTPError: one was not answered.
    """
    told, draw = Told(), random.Random(seed)
    end, due = time.perf_counter() + seconds, time.perf_counter()
    streams = []
    while (due := due + draw.expovariate(rate)) < end:
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        streams.append(asyncio.create_task(_stream(client, shape.body(draw, stream=True), told)))
    await asyncio.gather(*streams)
    return told


async def _stream(client: httpx.AsyncClient, body: dict[str, object], told: Told) -> None:
    start = time.perf_counter()
    async with client.stream("POST", "/v1/completions", json=body) as response:
        response.raise_for_status()
        first = None
        async for line in response.aiter_lines():
            if first is None and line.startswith("data: {"):
                first = time.perf_counter() - start
    if first is not None:
        told.first.append(first)
        told.answered += 1


@contextlib.asynccontextmanager
async def flood(client: httpx.AsyncClient, shape: Shape, at_once: int, seed: int) -> AsyncIterator[Told]:
    """So many requests at any time while the block runs; one that is refused comes back when it is told to."""
    told = Told()
    senders = [asyncio.create_task(_send_on(client, shape, random.Random(f"{seed} {i}"), told)) for i in range(at_once)]
    try:
        yield told
    finally:
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)


async def _send_on(client: httpx.AsyncClient, shape: Shape, draw: random.Random, told: Told) -> None:
    while True:
        response = await client.post("/v1/completions", json=shape.body(draw, stream=False))
        if response.status_code == 429:
            told.refused += 1
            await asyncio.sleep(float(response.headers["retry-after"]))
            continue
        response.raise_for_status()
        told.answered += 1
