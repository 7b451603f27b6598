"""Each change that `loraplex keys` makes leaves a line: who, what, which key, and never the key itself."""

from __future__ import annotations

import json
import logging
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loraplex_server.cli import main

Run = Callable[..., tuple[int, str, str]]
ME = f"user {pwd.getpwuid(os.getuid()).pw_name}"


@pytest.fixture
def run(command: Run, state: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("LORAPLEX_LOG_FORMAT", "json")

    def run(deed: str, *arguments: str) -> tuple[int, str, str]:
        return command("keys", deed, "--state-dir", str(state), *arguments)

    return run


def kept(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (state / "keys.audit.log").read_text().splitlines()]


def of(line: dict[str, Any]) -> dict[str, Any]:
    """What it says beyond its time."""
    return {name: value for name, value in line.items() if name != "time"}


COMMON = {"level": "info", "logger": "loraplex_server.audit", "process": "keys", "message": "audit", "by": ME}


def test_what_is_made_and_revoked_is_told_and_kept(run: Run, state: Path) -> None:
    _, out, made = run("create", "--tenant", "acme", "--admin", "--json")
    key = json.loads(out)  # nothing but the answer
    _, _, revoked = run("revoke", key["secret"])
    both = {**COMMON, "target": key["id"], "outcome": "done"}
    lines = kept(state)
    assert [of(line) for line in lines] == [
        {**both, "action": "key.create", "for_tenant": "acme", "admin": True},
        {**both, "action": "key.revoke"},
    ]
    assert [json.loads(said) for said in (made, revoked)] == lines
    assert key["secret"] not in made + revoked + (state / "keys.audit.log").read_text()


def test_what_fails_is_told_without_what_may_be_a_key(run: Run, state: Path) -> None:
    secret = json.loads(run("create", "--tenant", "acme", "--json")[1])["secret"]
    for wanted in ("key_nobody", secret[:-1], secret.removeprefix("lp-")):
        code, _, err = run("revoke", wanted)
        assert code == 1
        line, why = err.splitlines()
        assert "there is no key" in why
        assert secret[3:-1] not in line
    failed = {**COMMON, "action": "key.revoke", "outcome": "failed", "reason": "key_not_found"}
    assert [of(line) for line in kept(state)[1:]] == [{**failed, "target": "key_nobody"}, failed, failed]


def test_what_changes_nothing_leaves_no_line(run: Run, state: Path, tmp_path: Path) -> None:
    key = json.loads(run("create", "--tenant", "acme", "--json")[1])
    for arguments in (("list",), ("show", key["id"]), ("create", "--tenant", "acme", "--yaml")):
        assert run(*arguments)[2] == ""
    assert main(["keys", "revoke", "--keys", str(tmp_path / "keys.yaml"), "a"]) == 1
    assert len(kept(state)) == 1
    assert not (tmp_path / "keys.audit.log").exists()


def test_nothing_changes_where_its_line_cannot_be_kept(run: Run, state: Path) -> None:
    (state / "keys.audit.log").mkdir(parents=True)
    code, out, err = run("create", "--tenant", "acme")
    assert (code, out) == (1, "")
    assert "nothing was changed" in err
    assert json.loads(run("list", "--json")[1]) == []


def test_it_is_for_people_where_the_servers_log_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORAPLEX_LOG_FORMAT")
    assert " keys: audit action=key.create target=key_" in run("create", "--tenant", "acme")[2]


def test_its_file_is_whose_the_keys_are(run: Run, state: Path) -> None:
    run("create", "--tenant", "acme")
    file = state / "keys.audit.log"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    if os.geteuid() == 0:
        file.unlink()
        os.chown(state / "keys.sqlite", 10001, 10002)
        run("create", "--tenant", "acme")
        assert (file.stat().st_uid, file.stat().st_gid) == (10001, 10002)


def test_who_may_write_the_keys_may_write_its_file_too(run: Run, state: Path) -> None:
    """A group of admins: the umask of the first one to change something is not the others' lot."""
    run("create", "--tenant", "acme")
    file = state / "keys.audit.log"
    file.unlink()
    (state / "keys.sqlite").chmod(0o660)
    before = os.umask(0o077)
    try:
        run("create", "--tenant", "acme")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o660


def test_who_it_was_is_no_variable(state: Path) -> None:
    """In a process of its own, with no other log set up."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "USER": "nobody", "LOGNAME": "nobody"}
    command = [
        sys.executable,
        "-m",
        "loraplex_server.cli",
        "keys",
        "create",
        "--state-dir",
        str(state),
        "--tenant",
        "a",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert len(done.stderr.splitlines()) == 1
    assert kept(state)[0]["by"] == ME


def test_other_logs_are_left_as_they_were(run: Run, root_logger: logging.Logger) -> None:
    before = root_logger.handlers[:]
    run("create", "--tenant", "acme")
    assert root_logger.handlers == before
    assert logging.getLogger("loraplex_server.audit").handlers == []
