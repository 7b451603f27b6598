"""What docs/operations.md tells people to type is there, and does what it says."""

from __future__ import annotations

import re
import shlex
import sqlite3
from pathlib import Path

import pytest
from support.servers import DEMO, ROOT
from support.typed_lines import typed_lines

from loraplex_server.cli import COMMANDS, main
from loraplex_server.settings import load_settings
from loraplex_server.settings.parser import CommandLine
from loraplex_server.tenants.key_store import KeyStore
from loraplex_server.tenants.usage_book import UsageBook

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("## Runbook")[0]
PLACES = {
    "MODEL": str(DEMO / "base"),
    "ADAPTERS": str(DEMO / "adapters"),
    "ADAPTER": str(DEMO / "adapters" / "reverse"),
}
HELPS = (
    ("serve",), ("plan",), ("run-batch",), ("bench", "serve"), ("adapters", "add"), ("adapters", "list"),
    ("adapters", "check"), ("keys", "create"), ("keys", "list"), ("keys", "revoke"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def torch_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """These commands run in the tests' own process, where others need it."""
    monkeypatch.setattr("loraplex_server.commands.plan.hide_torch", lambda: None)


def words(line: str, **places: str) -> list[str]:
    return [(PLACES | places).get(word, word) for word in shlex.split(line)]


def help_of(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit, match="0"):
        raise SystemExit(main([*command, "--help"]))
    return capsys.readouterr().out


def test_every_option_that_is_named_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    known = set[str]()
    for command in HELPS:
        known |= set(re.findall(r"--[a-z][a-z-]*", help_of(command, capsys)))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE)) <= known


def test_every_command_that_is_typed_is_one() -> None:
    for line in typed_lines(PAGE):
        program, first, *_ = shlex.split(line)
        assert program == "sqlite3" or (program == "loraplex" and first in COMMANDS), line


@pytest.mark.parametrize("line", typed_lines(PAGE, "loraplex", "plan"))
def test_plans_are_made(line: str) -> None:
    assert main(words(line)[1:]) == 0


def test_adapters_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    for line in typed_lines(PAGE, "loraplex", "adapters", "check"):
        assert main(words(line)[1:]) == 0
    assert "It fits" in capsys.readouterr().out


def test_a_server_would_take_its_settings(tmp_path: Path) -> None:
    for line in typed_lines(PAGE, "loraplex", "serve"):
        settings = load_settings(CommandLine("loraplex serve", ""), words(line, STATE=str(tmp_path))[2:])
        assert settings.state_dir == tmp_path


def test_a_backup_of_what_is_open_has_the_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, backup = tmp_path / "state", tmp_path / "backup"
    backup.mkdir()
    assert main(["keys", "create", "--state-dir", str(state), "--tenant", "acme"]) == 0
    store, book = KeyStore(state / "keys.sqlite"), UsageBook(state)
    try:
        for line in typed_lines(PAGE, "sqlite3"):
            _, source, statement = shlex.split(line)
            with sqlite3.connect(source.replace("STATE", str(state))) as connection:
                connection.execute(statement.replace("BACKUP", str(backup)))
            connection.close()
    finally:
        book.close()
        store.close()
    assert sorted(path.name for path in backup.iterdir()) == ["keys.sqlite", "usage.sqlite"]
    capsys.readouterr()
    for line in typed_lines(PAGE, "loraplex", "keys", "list"):
        assert main(words(line, STATE=str(backup))[1:]) == 0
    assert "acme" in capsys.readouterr().out
