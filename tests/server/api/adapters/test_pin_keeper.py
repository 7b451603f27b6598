"""Pinned adapters: in memory after a start, after a restart of the engine, and after a change of their files."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from support.api import Api, until
from support.fake_engine import INFO

from loraplex_server.api.adapters import pin_keeper
from loraplex_server.api.adapters.pin_keeper import PinKeeper
from loraplex_server.engine.interface import AdapterUnusableError, EngineDeadError


@pytest.fixture
def keeper(api: Api) -> PinKeeper:
    for name in ("alpha", "beta"):
        api.catalog.change(name, pinned=True)
    return PinKeeper(api.catalog, api.engine, api.services.outcomes)


def prepared(api: Api) -> list[str]:
    """Since the last call."""
    names = sorted(source.name for source, pin in api.engine.prepared if pin)
    api.engine.prepared.clear()
    return names


async def test_what_is_pinned_is_loaded_once(api: Api, keeper: PinKeeper) -> None:
    await keeper.look()
    assert prepared(api) == ["alpha", "beta"]
    await keeper.look()
    assert prepared(api) == []
    assert (await api.ask("GET", "/v1/adapters/alpha")).json()["generation"].startswith("generation of")


async def test_nothing_is_asked_of_an_engine_that_is_not_there(api: Api, keeper: PinKeeper) -> None:
    api.engine.info = None
    await keeper.look()
    api.engine.info, api.engine.healthy = INFO, False
    await keeper.look()
    assert prepared(api) == []
    api.engine.healthy = True
    await keeper.look()
    assert prepared(api) == ["alpha", "beta"]


async def test_a_new_engine_gets_all_pins_again(api: Api, keeper: PinKeeper) -> None:
    await keeper.look()
    prepared(api)
    api.engine.info = msgspec.structs.replace(INFO, pid=2)
    await keeper.look()
    assert prepared(api) == ["alpha", "beta"]


async def test_an_engine_that_dies_meanwhile_is_no_failure(api: Api, keeper: PinKeeper) -> None:
    api.engine.refusals["alpha"] = EngineDeadError("gone")
    await keeper.look()
    assert (await api.ask("GET", "/v1/adapters/alpha")).json()["error"] is None
    del api.engine.refusals["alpha"]
    prepared(api)
    await keeper.look()
    assert prepared(api) == ["alpha"]


async def test_changed_files_are_loaded(api: Api, keeper: PinKeeper, adapters: Path) -> None:
    await keeper.look()
    prepared(api)
    (adapters / "alpha" / "adapter_model.safetensors").write_bytes(b"other")
    await keeper.look()
    assert prepared(api) == ["alpha"]


async def test_what_is_unpinned_may_leave(api: Api, keeper: PinKeeper) -> None:
    await keeper.look()
    api.catalog.change("alpha", pinned=False)
    await keeper.look()
    assert set(api.engine.pins) == {"beta"}


async def test_an_alias_may_pin(api: Api, keeper: PinKeeper) -> None:
    api.catalog.change("gamma", aliases=["third"])
    api.catalog.change("third", pinned=True)
    await keeper.look()
    assert prepared(api) == ["alpha", "beta", "gamma"]


async def test_a_failure_is_shown_logged_once_and_tried_again(
    api: Api,
    keeper: PinKeeper,
    adapters: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.WARNING)
    api.engine.refusals["alpha"] = AdapterUnusableError("adapter 'alpha' is refused: bad")
    for _ in range(3):
        await keeper.look()
    assert prepared(api) == ["alpha", "beta"]
    assert [record.getMessage() for record in caplog.records if "alpha" in record.getMessage()] == [
        "pinned adapter 'alpha' cannot be kept in memory: adapter 'alpha' is refused: bad"
    ]
    shown = (await api.ask("GET", "/v1/adapters/alpha")).json()
    assert (shown["state"], shown["error"]) == ("error", "adapter 'alpha' is refused: bad")
    (adapters / "alpha" / "adapter_config.json").write_text('{"changed": 1}')
    await keeper.look()
    assert prepared(api) == ["alpha"]  # at once: its files changed
    del api.engine.refusals["alpha"]
    monkeypatch.setattr(pin_keeper, "time", SimpleNamespace(monotonic=lambda: float("inf")))
    await keeper.look()
    assert prepared(api) == ["alpha"]
    assert (await api.ask("GET", "/v1/adapters/alpha")).json()["error"] is None


async def test_it_runs_while_the_app_lives(
    make_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch, adapters: Path
) -> None:
    monkeypatch.setattr(pin_keeper, "INTERVAL_S", 0.001)
    api = make_api()
    api.catalog.change("alpha", pinned=True)
    async with api.app.router.lifespan_context(api.app):
        await until(lambda: "alpha" in api.engine.pins)
        first = api.engine.pins["alpha"]
        os.utime(adapters / "alpha" / "adapter_config.json", ns=(1, 1))
        await until(lambda: api.engine.pins["alpha"] != first)
