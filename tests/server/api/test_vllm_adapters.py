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
