"""Adapters that the command line names: where they may be, what they may be called, and whom they belong to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.api import Api, write_adapters

from loraplex_server.api.adapters.catalogue import build_catalog
from loraplex_server.api.process.start_error import StartError
from loraplex_server.settings import ServeSettings


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Adapters that --adapters does not reach."""
    return write_adapters(tmp_path / "elsewhere", "one", "two")


async def test_they_are_listed_and_answer(make_api: Callable[..., Api], elsewhere: Path) -> None:
    modules = [f"first={elsewhere}/one", {"name": "ns/two", "path": f"{elsewhere}/two", "base_model_name": "llama"}]
    api = make_api(lora_modules=modules)
    cards = {card["id"]: card for card in (await api.get("/v1/models")).json()["data"]}
    assert list(cards) == ["test-model", "alpha", "beta", "first", "gamma", "ns/two"]
    assert (cards["first"]["parent"], cards["ns/two"]["parent"]) == ("test-model", "llama")
    assert (await api.get("/v1/models/ns/two")).json() == cards["ns/two"]
    answer = (await api.complete({"model": "ns/two", "prompt": "x"})).json()
    assert answer["choices"][0]["text"] == "hello from ns/two 0"
    assert str(elsewhere) not in (await api.get("/v1/models")).text


async def test_they_go_and_come_back_over_the_api(make_api: Callable[..., Api], elsewhere: Path) -> None:
    api = make_api(lora_modules=[f"first={elsewhere}/one"], admin_key=["admin"])
    assert (await api.ask("POST", "/v1/unload_lora_adapter", {"lora_name": "first"})).status_code == 200
    assert (await api.complete({"model": "first", "prompt": "x"})).status_code == 404
    again = {"lora_name": "first", "lora_path": f"{elsewhere}/one"}
    assert (await api.ask("POST", "/v1/load_lora_adapter", again)).status_code == 200
    # What the command line named may come from there, and nothing beside it.
    beside = {"lora_name": "second", "lora_path": f"{elsewhere}/two"}
    assert (await api.ask("POST", "/v1/load_lora_adapter", beside)).status_code == 403


def test_they_are_forgotten_with_the_command_line(tmp_path: Path, elsewhere: Path) -> None:
    state = tmp_path / "state"
    for modules, names in (([f"a={elsewhere}/one"], ["a"]), ([], [])):
        catalog = build_catalog(ServeSettings(model="m", state_dir=state, lora_modules=modules))
        assert catalog.names() == names
        catalog._registry.close()


def test_files_may_be_links_as_in_the_hubs_cache(tmp_path: Path, elsewhere: Path) -> None:
    snapshot = tmp_path / "cache" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    blobs = write_adapters(tmp_path / "cache" / "blobs", "one") / "one"
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(file)
    catalog = build_catalog(ServeSettings(model="m", lora_modules=[f"a={snapshot}"]))
    assert catalog.resolve("a").path == str(snapshot)


async def test_one_of_the_hub_is_there_before_it_is_fetched(make_api: Callable[..., Api], tmp_path: Path) -> None:
    """The command line permits it, and nothing else of the hub."""
    api = make_api(lora_modules=["a=org/name@v2"], adapter_cache=tmp_path / "cache", admin_key=["admin"])
    assert "a" in [card["id"] for card in (await api.get("/v1/models")).json()["data"]]
    shown = (await api.ask("GET", "/v1/adapters/a")).json()
    assert (shown["source"]["location"], shown["state"]) == ("hf://org/name@v2", "registered")
    other = {"lora_name": "b", "lora_path": "org/other"}
    assert (await api.ask("POST", "/v1/load_lora_adapter", other)).status_code == 403


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("a=/no/such/folder", "--lora-modules: '/no/such/folder' is no folder with an adapter_config.json"),
        ("test-model={}/one", "--lora-modules: 'test-model' is a name of the base model"),
        ("alpha={}/one", "--lora-modules: 'alpha' is a folder among the server's adapters already"),
        ("../a={}/one", "--lora-modules: an adapter cannot be called"),
        ("a/={}/one", "--lora-modules: an adapter cannot be called"),
        ("a=no source", "--lora-modules or --allow-adapter-source: 'no source' permits no source"),
    ],
)
def test_what_cannot_be_ends_the_start(module: str, reason: str, adapters: Path, elsewhere: Path) -> None:
    given = [module.format(elsewhere)]
    with pytest.raises(StartError) as caught:
        build_catalog(ServeSettings(model="test-model", adapters=adapters, lora_modules=given))
    assert str(caught.value).startswith(reason)


async def test_behind_a_prefix_a_key_is_asked_for_too(make_api: Callable[..., Api]) -> None:
    api = make_api(root_path="/llm", api_key=["k"])
    assert (await api.get("/llm/v1/models")).status_code == 401
    assert (await api.get("/llm/v1/models", authorization="Bearer k")).status_code == 200
    assert (await api.get("/llm/health")).status_code == 200
    assert (await api.get("/llm//v1/models")).status_code in (401, 404)
