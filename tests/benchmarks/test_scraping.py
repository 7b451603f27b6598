"""What measures the cost of scrapes, on a server that is none."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from scraping.crowd import Crowd, copy_adapters
from scraping.rendering import Rendering
from support.api import until


def crowd(seen: list[tuple[str, str]], status: int = 200) -> Crowd:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((json.loads(request.content)["model"], request.headers["authorization"]))
        return httpx.Response(status, json={})

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://test")
    return Crowd(client, ["a", "b"], ["1", "2"])


async def test_each_tenant_asks_for_an_adapter_of_its_own_in_turn() -> None:
    seen: list[tuple[str, str]] = []
    sender = crowd(seen)
    await sender.one_round()
    async with sender.sending(500.0):
        await until(lambda: sender.answered >= 6)
    assert seen[:4] == [("a", "Bearer 1"), ("b", "Bearer 2")] * 2
    assert sender.answered == len(seen)


async def test_a_failed_request_fails_the_measurement() -> None:
    seen: list[tuple[str, str]] = []
    with pytest.raises(httpx.HTTPStatusError):
        async with crowd(seen, status=503).sending(500.0):
            await until(lambda: seen)


def test_copies_have_names_of_their_own(tmp_path: Path) -> None:
    demo = Path(__file__).resolve().parents[2] / "examples" / "demo" / "adapters"
    names = copy_adapters(demo, tmp_path / "many", 12)
    assert len(set(names)) == 12
    assert all((tmp_path / "many" / name / "adapter_config.json").is_file() for name in names)


def test_renderings_are_timed_by_what_is_new() -> None:
    found = Rendering(6).times()
    assert list(found) == ["nothing", "5 requests", "6 requests"]
    assert all(0 < middle <= worst for middle, worst in found.values())
