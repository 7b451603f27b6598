"""The loads of two tenants, on a server that is none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sharing.load import Shape, flood, light
from support.api import until

SHAPE = Shape(prompt=5, output=3)


def client(answer: Callable[[httpx.Request], Any]) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://test")


async def test_the_light_tenant_streams_what_no_cache_knows_and_times_each_first_token() -> None:
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, text='data: {"choices": []}\n\ndata: [DONE]\n\n')

    told = await light(client(answer), SHAPE, rate=200.0, seconds=0.2, seed=1)
    assert told.answered == len(told.first) == len(bodies) > 5
    assert all(body["stream"] and len(body["prompt"]) == 5 and body["max_tokens"] == 3 for body in bodies)
    assert len({tuple(body["prompt"]) for body in bodies}) == len(bodies)


async def test_a_request_that_is_refused_fails_the_measurement() -> None:
    with pytest.raises(httpx.HTTPStatusError):
        await light(client(lambda _: httpx.Response(429)), SHAPE, rate=200.0, seconds=0.1, seed=1)


async def test_the_flood_keeps_so_many_asked_for_and_comes_back_when_it_is_told_to() -> None:
    waits = []

    async def answer(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        if len(waits) < 3:
            waits.append(request)
            return httpx.Response(429, headers={"retry-after": "0"})
        return httpx.Response(200, json={})

    async with flood(client(answer), SHAPE, at_once=4, seed=1) as told:
        await until(lambda: told.answered >= 8)
    assert told.refused == 3
