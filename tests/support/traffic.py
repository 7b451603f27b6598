"""Requests of all kinds, again and again, for those who watch what a server tells of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from support.servers import NO_TLS
from support.tenants import bearer

PAUSE_S = 0.3
SAME = "the same long beginning of every prompt " * 6
Ask = Callable[["Visitor", int], Awaitable[Any]]


@dataclass
class Visitor:
    """One kind of requests. Args: client: of the server. seen: of all kinds, (name, status) -> how often."""

    name: str
    client: httpx.AsyncClient
    secret: str
    seen: Counter[tuple[str, int]] = field(repr=False)

    async def ask(self, path: str = "/v1/completions", **body: Any) -> None:
        """One request."""
        answer = await self.client.post(path, json=body, headers=bearer(self.secret))
        self.seen[self.name, answer.status_code] += 1

    async def complete(self, model: str, prompt: str, tokens: int, **more: Any) -> None:
        """One answer of so many tokens."""
        fixed = {"model": model, "prompt": prompt, "max_tokens": tokens, "ignore_eos": True}
        await self.ask(**fixed, **more)


async def stream(visitor: Visitor, number: int) -> None:
    model = ("upper", "base")[number % 2]
    messages = [{"role": "user", "content": f"{number} cats"}]
    await visitor.ask("/v1/chat/completions", model=model, messages=messages, max_tokens=12, stream=True)


async def same(visitor: Visitor, number: int) -> None:
    await visitor.complete("base", SAME + str(number), 4)


async def repeat(visitor: Visitor, number: int) -> None:
    await visitor.complete("base", "a b a b a b a b a", 40, temperature=0)


async def mix(visitor: Visitor, number: int) -> None:
    names = ("add", "json", "sort", "words", "upper", "vowels", "shift", "reverse")
    await asyncio.gather(*(visitor.complete(name, f"{name} {number}", 8) for name in names))


async def follow(visitor: Visitor, number: int) -> None:
    schema = {"type": "object", "properties": {f"key{number}": {"type": "boolean"}}, "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    await visitor.ask(model="base", prompt="say", max_tokens=24, response_format=form)


async def misname(visitor: Visitor, number: int) -> None:
    await visitor.complete("nobody", "a", 4)


async def breaks(visitor: Visitor, number: int) -> None:
    await visitor.complete("broken", "a", 4)


async def hurry(visitor: Visitor, number: int) -> None:
    await visitor.complete("base", "a", 400, timeout=0.02)


async def rush(visitor: Visitor, number: int) -> None:
    await asyncio.gather(*(visitor.complete("base", f"{place}", 8) for place in range(40)))


async def crowd(visitor: Visitor, number: int) -> None:
    await rush(visitor, number)
    await asyncio.sleep(10 * PAUSE_S)


async def write_long(visitor: Visitor, number: int) -> None:
    await asyncio.gather(*(visitor.complete("base", f"{place} is", 400) for place in range(8)))


async def several(visitor: Visitor, number: int) -> None:
    await visitor.complete("upper", "abc", 6, n=3)


async def embed(visitor: Visitor, number: int) -> None:
    await visitor.ask("/v1/embeddings", model="base", input=["one", "two"])


async def leave(visitor: Visitor, number: int) -> None:
    body = {"model": "base", "prompt": "a", "max_tokens": 300, "ignore_eos": True, "stream": True}
    headers = bearer(visitor.secret)
    async with visitor.client.stream("POST", "/v1/completions", json=body, headers=headers) as answer:
        visitor.seen[visitor.name, answer.status_code] += 1
        async for _ in answer.aiter_lines():
            break


CALM: dict[str, Ask] = {"stream": stream, "same": same, "repeat": repeat}
WILD: dict[str, Ask] = {
    **CALM,
    "mix": mix,
    "follow": follow,
    "misname": misname,
    "breaks": breaks,
    "hurry": hurry,
    "crowd": crowd,
    "write_long": write_long,
    "several": several,
    "embed": embed,
    "leave": leave,
    "limited": same,
    "urgent": same,
}


@contextlib.contextmanager
def visiting(url: str, kinds: dict[str, Ask], secrets: dict[str, str]) -> Iterator[Counter[tuple[str, int]]]:
    """Ask until the block ends, each kind with pauses; all have their answers then.

    Args:
        secrets: key of a kind; that of "" is for kinds without one.
    """
    seen: Counter[tuple[str, int]] = Counter()
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_ask_all(url, kinds, secrets, seen, stop)))
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


async def _ask_all(
    url: str, kinds: dict[str, Ask], secrets: dict[str, str], seen: Counter[tuple[str, int]], stop: threading.Event
) -> None:
    async def again_and_again(visitor: Visitor) -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            with contextlib.suppress(httpx.TransportError):  # the server may be killed meanwhile
                await kinds[visitor.name](visitor, number)
            await asyncio.sleep(PAUSE_S)

    async with httpx.AsyncClient(base_url=url, timeout=120, verify=NO_TLS, limits=httpx.Limits()) as client:
        visitors = [Visitor(name, client, secrets.get(name, secrets[""]), seen) for name in kinds]
        await asyncio.gather(*(again_and_again(visitor) for visitor in visitors))
