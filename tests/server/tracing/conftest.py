from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.api import Api, build_renderer, write_adapters
from support.collector import Collector, collecting
from support.fake_engine import FakeEngine

from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.tracing.interface import Tracing
from loraplex_server.tracing.open import open_tracing


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return build_renderer()


@pytest.fixture
def engine(renderer: Renderer) -> FakeEngine:
    end = renderer.end_tokens[0]
    return FakeEngine(lambda request, index: [*renderer.tokenizer.encode("hello there").ids, end])


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def otel_logger() -> Iterator[None]:
    """OpenTelemetry's logger, put back as it was."""
    library = logging.getLogger("opentelemetry")
    before = library.handlers[:], library.propagate
    yield
    library.handlers[:], library.propagate = before


@pytest.fixture
def tracing(collector: Collector, otel_logger: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracing]:
    """To the collector, a few times a second; what is left goes when it is closed."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with open_tracing(collector.url) as tracing:
        assert tracing is not None
        yield tracing


@pytest.fixture
def make_api(engine: FakeEngine, renderer: Renderer, tmp_path: Path) -> Callable[..., Api]:
    adapters = write_adapters(tmp_path / "adapters", "alpha", "beta")
    return lambda **settings: Api(engine, renderer, adapters, **settings)


@pytest.fixture
def api(make_api: Callable[..., Any], tracing: Tracing) -> Api:
    api: Api = make_api(tracing=tracing)
    return api
