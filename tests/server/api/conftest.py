from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.api import Api, build_renderer, write_adapters
from support.fake_engine import FakeEngine

from loraplex_server.api.rendering.renderer import Renderer


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    return build_renderer()


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    return write_adapters(tmp_path / "adapters", "alpha", "beta", "gamma")


@pytest.fixture
def engine(renderer: Renderer) -> FakeEngine:
    """Says its adapter's name, or what is set as `script`, then ends."""
    end = renderer.end_tokens[0]

    def script(request: Any, index: int) -> list[int]:
        name = "+".join(use.source.name for use in request.adapters) or "base"
        return [*renderer.tokenizer.encode(f"hello from {name} {index}").ids, end]

    return FakeEngine(script)


@pytest.fixture
def says(engine: FakeEngine, renderer: Renderer) -> Callable[[str], FakeEngine]:
    """Make the engine say a text, then end."""

    def say(text: str, *, end: bool = True) -> FakeEngine:
        ids = [*renderer.tokenizer.encode(text).ids, *(renderer.end_tokens if end else ())]
        engine.script = lambda request, index: ids
        return engine

    return say


@pytest.fixture
def api(engine: FakeEngine, renderer: Renderer, adapters: Path) -> Api:
    return Api(engine, renderer, adapters)


@pytest.fixture
def make_api(engine: FakeEngine, renderer: Renderer, adapters: Path) -> Callable[..., Api]:
    """An app with settings other than the defaults."""
    return lambda **settings: Api(engine, renderer, adapters, **settings)


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Folders that may be added by their path."""
    return write_adapters(tmp_path / "places", "one", "two")


@pytest.fixture
def admin_api(make_api: Callable[..., Api], places: Path) -> Api:
    return make_api(admin_key=["admin"], allow_adapter_source=[str(places)])
