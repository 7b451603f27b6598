"""vLLM's routes for adapters: its bodies, its texts, its status codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.api import Api

from loraplex_server.engine.interface import AdapterUnusableError


@pytest.fixture
def api(admin_api: Api) -> Api:
    return admin_api


LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


async def test_vllms_routes_have_its_answers(api: Api, places: Path) -> None:
    body = {"lora_name": "new", "lora_path": str(places / "one")}
    for _ in range(2):  # clients retry
        response = await api.ask("POST", LOAD, body)
        assert (response.status_code, response.text) == (200, "Success: LoRA adapter 'new' added successfully.")
        assert response.headers["content-type"].startswith("text/plain")
    other = {**body, "lora_path": str(places / "two")}
    response = await api.ask("POST", LOAD, other)
    assert response.status_code == 400
    assert response.json()["error"] == {
        "message": "The lora adapter 'new' has already been loaded. If you want to load the adapter in place, set "
        "'load_inplace' to True.",
        "type": "InvalidUserInput",
        "param": None,
        "code": 400,
    }
    assert (await api.ask("POST", LOAD, {**other, "load_inplace": True})).status_code == 200
    response = await api.ask("POST", UNLOAD, {"lora_name": "new", "lora_int_id": None})
    assert (response.status_code, response.text) == (200, "Success: LoRA adapter 'new' removed successfully.")
    response = await api.ask("POST", UNLOAD, {"lora_name": "new"})
    assert (response.status_code, response.json()["error"]["type"]) == (404, "NotFoundError")
    assert response.json()["error"]["message"] == "The lora adapter 'new' cannot be found."


@pytest.mark.parametrize("base", [None, "test-model"])
async def test_the_lora_syncer_brings_its_list_about(api: Api, places: Path, base: str | None) -> None:
    """Every few seconds it looks at the models, loads what is missing, unloads what is not wanted; any 2xx is well."""

    async def models() -> dict[str, str | None]:
        return {model["id"]: model["parent"] for model in (await api.ask("GET", "/v1/models")).json()["data"]}

    assert (await api.get("/health")).status_code == 200
    load = {"lora_name": "wanted", "lora_path": str(places / "one"), "base_model_name": base}
    for _ in range(2):
        assert (await api.ask("POST", LOAD, load)).is_success
        assert (await models())["wanted"] == "test-model"
    assert (await models())["test-model"] is None
    assert (await api.ask("POST", UNLOAD, {"lora_name": "wanted"})).is_success
    assert "wanted" not in await models()


async def test_an_adapter_of_another_base_is_refused(api: Api, places: Path) -> None:
    load = {"lora_name": "new", "lora_path": str(places / "one"), "base_model_name": "other-model"}
    response = await api.ask("POST", LOAD, load)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "InvalidUserInput")
    assert "for 'other-model'" in response.json()["error"]["message"]


async def test_production_stacks_controller_finds_what_it_loaded(api: Api, places: Path) -> None:
    """It takes what has a parent for an adapter, wants status 200 exactly, and loads again whenever it looks."""
    for _ in range(3):
        response = await api.ask("POST", LOAD, {"lora_name": "new", "lora_path": str(places / "one")})
        assert response.status_code == 200
    models = (await api.ask("GET", "/v1/models")).json()
    assert models["object"] == "list"
    (found,) = (model for model in models["data"] if model["id"] == "new")
    assert found["object"] == "model"
    assert isinstance(found["parent"], str)
    assert isinstance(found["root"], str)
    assert isinstance(found["created"], int)
    assert [model["parent"] for model in models["data"] if model["id"] == "test-model"] == [None]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (LOAD, {"lora_name": "", "lora_path": "x"}, 400, "Both 'lora_name' and 'lora_path' must be provided."),
        (LOAD, {"lora_name": "x"}, 400, "Both 'lora_name' and 'lora_path' must be provided."),
        (
            LOAD,
            {"lora_name": "test-model", "lora_path": "x/y"},
            400,
            "The lora adapter 'test-model' conflicts with a served base model.",
        ),
        (LOAD, {"lora_name": "alpha", "lora_path": "{places}/one"}, 400, "'alpha' is a folder"),
        (LOAD, {"lora_name": "new", "lora_path": "{places}/none"}, 404, "is no folder"),
        (LOAD, {"lora_name": "new", "lora_path": "x/y", "is_3d_lora_weight": True}, 400, "is_3d_lora_weight"),
        (UNLOAD, {}, 400, "'lora_name' needs to be provided to unload a LoRA adapter."),
        (UNLOAD, {"lora_name": "alpha"}, 400, "folder"),
    ],
)
async def test_vllms_routes_refuse_as_it_does(
    api: Api, places: Path, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    body = {name: value.format(places=places) if isinstance(value, str) else value for name, value in body.items()}
    response = await api.ask("POST", path, body)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]


async def test_vllms_load_refuses_what_cannot_be_served_as_the_clients_fault(api: Api, places: Path) -> None:
    api.engine.refusals["new"] = AdapterUnusableError("adapter 'new' is refused: rank")
    response = await api.ask("POST", LOAD, {"lora_name": "new", "lora_path": str(places / "one")})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "adapter_refused")
