from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from loraplex_adapters.errors import AdapterError, RegistryError
from loraplex_adapters.registry import Registry
from loraplex_adapters.registry.database import FILE, SCHEMA


def test_names_pins_and_aliases_survive_a_restart(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "new" / "state")
    registry.put("a", "hf://org/a", "1")
    registry.put("b", "/data/b", "")
    registry.note_revision("a", "2")
    registry.change("a", pinned=True, aliases=["x", "y"])
    registry.put("b", "/data/b2", "", pinned=True, aliases=["z"])
    registry.change("b", pinned=False, aliases=[])
    registry.drop_alias("y")
    kept = (registry.adapters, registry.pins, registry.aliases)
    registry.close()
    again = Registry(tmp_path / "new" / "state")
    assert (again.adapters, again.pins, again.aliases) == kept
    assert again.adapters["a"].revision == "2"
    assert (again.pins, again.aliases) == ({"a"}, {"x": "a"})
    again.close()


def test_an_adapter_that_is_dropped_takes_its_pin_and_aliases_along(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.put("a", "hf://org/a", "")
    registry.change("a", pinned=True, aliases=["x"])
    registry.drop("a")
    assert not registry.adapters
    registry.close()
    again = Registry(tmp_path)
    assert (again.adapters, again.pins, again.aliases) == ({}, frozenset(), {})
    again.close()


def test_a_state_folder_belongs_to_one_server(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    with pytest.raises(RegistryError, match="in use by another server"):
        Registry(tmp_path)
    registry.put("a", "hf://org/a", "")  # which is not disturbed
    registry.close()
    Registry(tmp_path).close()


def test_a_format_from_the_future_is_refused(tmp_path: Path) -> None:
    Registry(tmp_path).close()
    database = sqlite3.connect(tmp_path / FILE)
    database.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    database.close()
    with pytest.raises(RegistryError, match="newer version of Loraplex"):
        Registry(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database, though long enough to be looked at as one" * 20)
    with pytest.raises(RegistryError, match="cannot be read"):
        Registry(tmp_path)


def test_a_state_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="cannot be used"):
        Registry(tmp_path / "file")


def test_a_change_that_cannot_be_written_is_not_made(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.put("a", "hf://org/a", "")
    registry.close()
    for change in (
        lambda: registry.put("b", "hf://org/b", ""),
        lambda: registry.drop("a"),
        lambda: registry.put("a", "hf://org/a", "2", pinned=True, aliases=["x"]),
        lambda: registry.change("a", pinned=True, aliases=["x"]),
        lambda: registry.drop_alias("x"),
    ):
        with pytest.raises(AdapterError, match="cannot be remembered"):
            change()
    assert (set(registry.adapters), registry.pins, registry.aliases) == ({"a"}, frozenset(), {})


def test_a_file_that_is_damaged_further_in_is_told_as_that(tmp_path: Path) -> None:
    Registry(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("DROP TABLE pins")
    connection.close()
    with pytest.raises(RegistryError, match="cannot be read"):
        Registry(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection:  # nothing was left open
        connection.execute("CREATE TABLE pins (name TEXT PRIMARY KEY)")
    Registry(tmp_path).close()


def test_a_revision_that_cannot_be_written_is_known_until_a_restart(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.put("a", "hf://org/a", "1")
    registry.close()
    registry.note_revision("a", "2")
    assert registry.adapters["a"].revision == "2"
    again = Registry(tmp_path)
    assert again.adapters["a"].revision == "1"
    again.close()
