from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.api import Api, build_renderer, write_adapters
from support.fake_engine import FakeEngine

from loraplex_server.api.access.caller import ANYONE
from loraplex_server.api.process.inside import inside_client
from loraplex_server.batch import job
from loraplex_server.engine.messages import EngineInfo


@pytest.fixture(scope="session")
def renderer() -> Any:
    return build_renderer()


@pytest.fixture
def engine(renderer: Any) -> FakeEngine:
    """Says its adapter's name, then ends."""

    def script(request: Any, index: int) -> list[int]:
        name = "+".join(use.source.name for use in request.adapters) or "base"
        return [*renderer.tokenizer.encode(f"hello from {name}").ids, *renderer.end_tokens]

    return FakeEngine(script)


@pytest.fixture
def api(engine: FakeEngine, renderer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Api:
    """What `run-batch` has in place of an engine process."""
    api = Api(engine, renderer, write_adapters(tmp_path / "adapters", "alpha", "beta"))

    @contextlib.asynccontextmanager
    async def own_server(settings: Any) -> AsyncIterator[tuple[httpx.AsyncClient, EngineInfo]]:
        async with inside_client(api.app, ANYONE) as client:
            yield client, engine.info

    monkeypatch.setattr(job, "own_server", own_server)
    return api


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Sequence[Any]], Path]:
    """A file of requests; what is a string stands there as it is."""

    def write_lines(lines: Sequence[Any]) -> Path:
        path = tmp_path / "in.jsonl"
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return path

    return write_lines
