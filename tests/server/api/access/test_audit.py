"""Each change to adapters and keys leaves a line that says who made it, or tried to."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.api import Api, build_renderer, write_adapters
from support.fake_engine import FakeEngine
from support.tenants import make_key

from loraplex_server.logs.audit import logger
from loraplex_server.logs.configure import configure_logging


@pytest.fixture
def places(tmp_path: Path) -> Path:
    return write_adapters(tmp_path / "places", "one")


@pytest.fixture
def api(tmp_path: Path, places: Path) -> Api:
    settings: dict[str, Any] = {"admin_key": ["first-key", "second-key"], "api_key": ["only-asks"]}
    adapters = write_adapters(tmp_path / "adapters", "alpha")
    return Api(
        FakeEngine(lambda request, index: []),
        build_renderer(),
        adapters,
        state_dir=tmp_path / "state",
        allow_adapter_source=[str(places)],
        **settings,
    )


@pytest.fixture
def audited(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    caplog.set_level(logging.INFO)
    return lambda: [record.fields for record in caplog.records if record.name == logger.name]


async def test_adapters(api: Api, places: Path, audited: Callable[[], list[dict[str, Any]]]) -> None:
    source = str(places / "one")
    await api.ask("POST", "/v1/adapters", {"name": "new", "source": source}, key="second-key")
    await api.ask("PATCH", "/v1/adapters/new", {"aliases": ["newest"]}, key="first-key")
    await api.ask("DELETE", "/v1/adapters/new", key="first-key")
    await api.ask("POST", "/v1/load_lora_adapter", {"lora_name": "new", "lora_path": source}, key="first-key")
    await api.ask("POST", "/v1/unload_lora_adapter", {"lora_name": "new"}, key="first-key")
    first = {"target": "new", "by": "--admin-key 1", "client": "127.0.0.1", "outcome": "done"}
    assert audited() == [
        {**first, "action": "adapter.add", "source": source, "by": "--admin-key 2"},
        {**first, "action": "adapter.change", "aliases": ["newest"]},
        {**first, "action": "adapter.remove"},
        {**first, "action": "adapter.add", "source": source},
        {**first, "action": "adapter.remove"},
    ]


async def test_keys(api: Api, tmp_path: Path, audited: Callable[[], list[dict[str, Any]]]) -> None:
    boss, secret = make_key(tmp_path / "state", "acme", admin=True)
    made = (await api.ask("POST", "/v1/keys", {"tenant": "ann"}, key=secret)).json()
    await api.ask("DELETE", f"/v1/keys/{made['id']}", key=secret)
    by = {"by": boss, "tenant": "acme", "client": "127.0.0.1", "outcome": "done", "target": made["id"]}
    assert audited() == [
        {**by, "action": "key.create", "for_tenant": "ann", "admin": False},
        {**by, "action": "key.revoke"},
    ]
    assert made["secret"] not in str(audited())


async def test_what_is_denied_or_fails(api: Api, audited: Callable[[], list[dict[str, Any]]]) -> None:
    assert (await api.ask("DELETE", "/v1/adapters/alpha", key="only-asks")).status_code == 403
    assert (await api.ask("DELETE", "/v1/adapters/alpha", key="first-key")).status_code == 409
    assert (await api.ask("DELETE", "/v1/adapters/nobody", key="first-key")).status_code == 404
    assert (await api.ask("POST", "/v1/keys", {"tenant": 3}, key="first-key")).status_code == 400
    said = [(line["action"], line.get("target"), line["by"], line["outcome"], line["reason"]) for line in audited()]
    assert said == [
        ("adapter.remove", "alpha", "anyone", "denied", "not_admin"),
        ("adapter.remove", "alpha", "--admin-key 1", "failed", "adapter_conflict"),
        ("adapter.remove", "nobody", "--admin-key 1", "failed", "model_not_found"),
        ("key.create", None, "--admin-key 1", "failed", "invalid"),
    ]


async def test_no_level_hides_it(
    api: Api, root_logger: logging.Logger, capsys: pytest.CaptureFixture[str], places: Path
) -> None:
    configure_logging("error", "json")
    await api.ask("POST", "/v1/adapters", {"name": "new", "source": str(places / "one")}, key="first-key")
    (line,) = capsys.readouterr().err.splitlines()
    assert '"action": "adapter.add"' in line
    assert '"request_id": "' in line
