"""500 damaged adapters, asked for over HTTP: each refused with a clear 4xx, nobody else disturbed, nothing kept."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families
from support.damage import DAMAGES
from support.servers import DEMO, Server, serving

COUNT = 500
CLIENTS = 8
GOOD = "upper"
KEPT_BYTES = 64 << 20  # what an allocator may hold on to; the files that were refused are several times that
PATH_TRICKS = [
    *("../upper", "..", ".", "./upper", "upper/", "/etc", "upper/../upper", "upper\\..", "upper\x00", "\n", "%2e%2e"),
    *("a" * 5000, "\u202eupper", "file:///etc/passwd", "https://localhost/x", "~", "$HOME", "upper;ls", "UPPER", " "),
]


def write_damaged(root: Path) -> dict[str, str]:
    """Name -> kind; every kind about as often as any other."""
    kinds = sorted(DAMAGES)
    written = {}
    for number in range(COUNT):
        kind = kinds[number % len(kinds)]
        name = f"damaged-{number:03}"
        shutil.copytree(DEMO / "adapters" / GOOD, root / name)
        DAMAGES[kind](root / name, random.Random(number))
        written[name] = kind
    return written


def body(model: str) -> dict[str, object]:
    return {"model": model, "prompt": "tac", "max_tokens": 12, "temperature": 0, "ignore_eos": True}


async def refusals(client: httpx.AsyncClient, names: list[str]) -> dict[str, httpx.Response]:
    queue, answers = list(names), {}

    async def work() -> None:
        while queue:
            name = queue.pop()
            answers[name] = await client.post("/v1/completions", json=body(name))

    await asyncio.gather(*(work() for _ in range(CLIENTS)))
    return answers


async def undisturbed(client: httpx.AsyncClient, done: asyncio.Event) -> set[str]:
    texts = set()
    while not done.is_set():
        answer = await client.post("/v1/completions", json=body(GOOD))
        texts.add(answer.raise_for_status().json()["choices"][0]["text"])
    return texts


async def all_asked(server: Server, names: list[str]) -> tuple[dict[str, httpx.Response], set[str]]:
    async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
        done = asyncio.Event()
        neighbour = asyncio.create_task(undisturbed(client, done))
        answers = await refusals(client, names)
        done.set()
        return answers, await neighbour


def adapter_bytes(server: Server) -> float:
    families = text_string_to_metric_families(server.get("/metrics").text)
    found = [s.value for f in families for s in f.samples if s.name == "loraplex_adapter_bytes"]
    assert found
    return sum(found)


def reported_bytes(server: Server) -> float:
    """Of the good adapter, once the engine has told of it: it does so now and then."""
    for _ in range(1200):
        if found := adapter_bytes(server):
            return found
        time.sleep(0.05)
    raise AssertionError("the server never told of the adapter that it has in memory")


def test_each_is_refused_clearly_and_nothing_stays_behind(tmp_path: Path) -> None:
    root = tmp_path / "adapters"
    kinds = write_damaged(root)
    shutil.copytree(DEMO / "adapters" / GOOD, root / GOOD)
    arguments = ["serve", str(DEMO / "base"), "--adapters", str(root), "--dtype", "float32", "--no-request-log"]
    with serving(arguments, tmp_path / "log") as server:
        alone = server.post("/v1/completions", body(GOOD)).json()["choices"][0]["text"]
        first, _ = asyncio.run(all_asked(server, sorted(kinds)[:40]))  # whatever is allocated once
        engine = psutil.Process(server.engine_pid())
        before, resident = engine.memory_info().rss, reported_bytes(server)
        answers, texts = asyncio.run(all_asked(server, sorted(kinds)))
        wrong = {name: (kinds[name], a.status_code, a.text[:300]) for name, a in answers.items() if not is_clear(a)}
        assert not wrong
        assert len(answers) == COUNT
        assert set(first) <= set(answers)
        assert texts == {alone}
        assert adapter_bytes(server) == resident
        assert engine.memory_info().rss - before < KEPT_BYTES
        tricks, _ = asyncio.run(all_asked(server, PATH_TRICKS))
        assert Counter(answer.status_code for answer in tricks.values()) == {404: len(PATH_TRICKS)}
        assert server.post("/v1/completions", body(GOOD)).json()["choices"][0]["text"] == alone
        assert "Traceback" not in server.log.read_text()


def is_clear(answer: httpx.Response) -> bool:
    """A 4xx in the API's own envelope, that says something and shows no path of the server."""
    if not 400 <= answer.status_code < 500:
        return False
    error = answer.json()["error"]
    return len(error["message"]) > 20 and "/tmp" not in error["message"] and error["param"] == "model"
