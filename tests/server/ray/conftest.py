from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.api import Api, build_renderer, write_adapters
from support.fake_engine import FakeEngine

from loraplex_server.ray.refusals import refuse_what_is_apart


@pytest.fixture
def make_api(tmp_path: Path) -> Callable[..., Api]:
    """The app of a replica, over an engine that says nothing."""

    def make(**settings: object) -> Api:
        renderer = build_renderer()
        adapters = write_adapters(tmp_path / "adapters", "alpha", "beta")
        api = Api(FakeEngine(lambda request, index: [renderer.end_tokens[0]]), renderer, adapters, **settings)
        refuse_what_is_apart(api.app)
        api.services = api.app.state.services
        return api

    return make
