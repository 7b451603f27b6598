"""Whether strangers can use a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.api import Api
from support.tenants import make_key

from loraplex_server.api.access.exposure import is_exposed

MakeApi = Callable[..., Api]


@pytest.mark.parametrize(
    ("host", "exposed"),
    [("127.0.0.1", False), ("127.1.2.3", False), ("::1", False), ("localhost", False)]
    + [(host, True) for host in ("0.0.0.0", "::", "10.0.0.5", "example.org")],
)
def test_without_keys_only_this_machine_is_safe(api: Api, host: str, exposed: bool) -> None:
    assert is_exposed(host, api.services.callers) == exposed


def test_any_key_that_is_needed_is_enough(make_api: MakeApi, tmp_path: Path) -> None:
    assert not is_exposed("0.0.0.0", make_api(api_key=["k"]).services.callers)
    assert is_exposed("0.0.0.0", make_api(admin_key=["k"]).services.callers), "who has none may ask"
    api = make_api(state_dir=tmp_path / "state")
    assert is_exposed("0.0.0.0", api.services.callers)
    make_key(tmp_path / "state", "acme")
    assert not is_exposed("0.0.0.0", api.services.callers)
