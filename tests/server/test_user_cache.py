"""Where caches are, also for users who have no home."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraplex_server.settings import SettingsError
from loraplex_server.settings.user_cache import user_cache


def test_it_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert user_cache("weights") == Path("/somewhere/.cache/loraplex/weights")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert user_cache("weights") == Path("/cache/loraplex/weights")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_001)  # nobody's
    with pytest.raises(SettingsError, match="XDG_CACHE_HOME"):
        user_cache("weights")
