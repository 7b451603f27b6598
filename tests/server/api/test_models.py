"""Names: of the base, of adapters, of sums of adapters."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.api import Api, events, write_adapters

CHAT = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize("name", ["test-model", "base", "", None])
async def test_the_base_has_several_names(api: Api, name: str | None) -> None:
    response = await api.complete({"prompt": "x", "model": name, "max_tokens": 50})
    assert response.json()["choices"][0]["text"] == "hello from base 0"
    assert response.json()["model"] == (name or "test-model")
    assert api.engine.requests[0].adapters == ()


async def test_an_adapter_answers_to_its_name(api: Api) -> None:
    body = (await api.complete({"prompt": "x", "model": "alpha", "max_tokens": 50})).json()
    assert (body["model"], body["choices"][0]["text"]) == ("alpha", "hello from alpha 0")
    (use,) = api.engine.requests[0].adapters
    assert (use.source.name, use.weight) == ("alpha", 1.0)
    chunks = events((await api.chat({"model": "alpha", "stream": True})).text)
    assert {chunk["model"] for chunk in chunks} == {"alpha"}


async def test_adapters_add_up_with_weights(api: Api) -> None:
    adapters = [{"name": "alpha", "weight": 0.5}, {"name": "beta", "weight": -2}, {"name": "gamma"}]
    body = (await api.complete({"prompt": "x", "model": "base", "adapters": adapters})).json()
    assert body["model"] == "base"
    uses = [(use.source.name, use.weight) for use in api.engine.requests[0].adapters]
    assert uses == [("alpha", 0.5), ("beta", -2.0), ("gamma", 1.0)]


async def test_an_adapter_as_model_excludes_a_sum(api: Api) -> None:
    response = await api.complete({"prompt": "x", "model": "alpha", "adapters": [{"name": "beta"}]})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "adapters")


@pytest.mark.parametrize("name", ["nobody", "../alpha", "/etc", "alpha/", ".", "al\x00pha", "ALPHA", "a" * 5000])
async def test_an_unknown_name_is_a_404_that_lists_nothing(api: Api, name: str) -> None:
    for endpoint, body in (("/v1/completions", {"prompt": "x"}), ("/v1/chat/completions", CHAT)):
        response = await api.post(endpoint, {**body, "model": name})
        error = response.json()["error"]
        assert response.status_code == 404
        assert (error["param"], error["code"]) == ("model", "model_not_found")
        assert len(error["message"]) < 300
        assert "alpha" not in error["message"] or "alpha" in name.lower()
    assert api.engine.requests == []


async def test_an_unknown_adapter_in_a_sum_names_that_field(api: Api) -> None:
    response = await api.complete({"prompt": "x", "adapters": [{"name": "alpha"}, {"name": "nobody"}]})
    assert (response.status_code, response.json()["error"]["param"]) == (404, "adapters")


async def test_the_generation_is_told_short(api: Api) -> None:
    api.engine.generation = "0123456789abcdef" * 4 + "+" + "fedcba9876543210" * 4
    response = await api.complete({"prompt": "x", "model": "alpha"})
    assert response.headers["x-loraplex-generation"] == "0123456789ab+fedcba987654"
    assert response.json()["system_fingerprint"].endswith("-0123456789ab+fedcba987654")
    stream = await api.chat({"model": "alpha", "stream": True})
    assert stream.headers["x-loraplex-generation"] == "0123456789ab+fedcba987654"
    api.engine.generation = ""
    assert "x-loraplex-generation" not in (await api.complete({"prompt": "x"})).headers


async def test_the_list_has_the_base_first_then_the_adapters(api: Api) -> None:
    body = (await api.get("/v1/models")).json()
    assert body["object"] == "list"
    assert [card["id"] for card in body["data"]] == ["test-model", "alpha", "beta", "gamma"]
    base, alpha = body["data"][:2]
    assert (base["parent"], base["root"], base["max_model_len"]) == (None, "test-model", 256)
    assert (alpha["parent"], alpha["root"]) == ("test-model", "alpha")
    assert all(set(card) >= {"id", "object", "created", "owned_by", "root", "parent"} for card in body["data"])
    assert all(card["object"] == "model" and card["created"] > 1_700_000_000 for card in body["data"])


async def test_an_adapter_that_appears_is_listed_and_served_without_a_restart(api: Api, adapters: Path) -> None:
    assert (await api.complete({"prompt": "x", "model": "delta"})).status_code == 404
    write_adapters(adapters, "delta")
    assert (await api.complete({"prompt": "x", "model": "delta"})).status_code == 200
    assert "delta" in [card["id"] for card in (await api.get("/v1/models")).json()["data"]]


async def test_one_model_can_be_asked_for(api: Api, make_api: Callable[..., Any]) -> None:
    assert (await api.get("/v1/models/alpha")).json()["parent"] == "test-model"
    assert (await api.get("/v1/models/base")).json()["parent"] is None
    assert (await api.get("/v1/models/nobody")).json()["error"]["code"] == "model_not_found"
    named = make_api(served_model_name=["org/name", "short"])
    assert (await named.get("/v1/models/org/name")).json()["id"] == "org/name"
    assert [c["id"] for c in (await named.get("/v1/models")).json()["data"]][:2] == ["org/name", "short"]
    assert (await named.complete({"prompt": "x", "model": "short"})).json()["model"] == "short"
    assert (await named.complete({"prompt": "x", "model": "test-model"})).status_code == 404


async def test_the_bases_name_wins_over_an_adapters(api: Api, adapters: Path) -> None:
    write_adapters(adapters, "base")
    assert (await api.complete({"prompt": "x", "model": "base"})).status_code == 200
    assert api.engine.requests[0].adapters == ()
    assert [card["id"] for card in (await api.get("/v1/models")).json()["data"]].count("base") == 0


async def test_an_adapter_deleted_during_the_listing_is_left_out(
    api: Api, adapters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = api.services.catalog.names()
    shutil.rmtree(adapters / "beta")
    monkeypatch.setattr(api.services.catalog, "names", lambda: names)
    body = (await api.get("/v1/models")).json()
    assert [card["id"] for card in body["data"]] == ["test-model", "alpha", "gamma"]


async def test_without_the_folder_of_adapters_the_base_is_still_listed_and_served(api: Api, adapters: Path) -> None:
    shutil.rmtree(adapters)
    assert [card["id"] for card in (await api.get("/v1/models")).json()["data"]] == ["test-model"]
    assert (await api.complete({"prompt": "x"})).status_code == 200
    assert (await api.complete({"prompt": "x", "model": "alpha"})).status_code == 404


async def test_one_model_is_asked_for_without_a_look_at_the_others(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.services.catalog, "names", lambda: pytest.fail("all were looked at"))
    assert (await api.get("/v1/models/alpha")).json()["id"] == "alpha"
    assert (await api.get("/v1/models/nobody")).status_code == 404


async def test_an_adapter_that_cannot_be_looked_at_is_refused(api: Api, adapters: Path) -> None:
    tensors = adapters / "alpha" / "adapter_model.safetensors"
    tensors.unlink()
    tensors.symlink_to(tensors.name)
    response = await api.complete({"prompt": "x", "model": "alpha"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "adapter_refused")
    assert "alpha" in [card["id"] for card in (await api.get("/v1/models")).json()["data"]]
