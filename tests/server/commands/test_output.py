"""What a command writes where it cannot be written as it stands, or at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loraplex_server.tenants.key_store import KeyStore

CREATE = ("keys", "create", "--tenant", "acme", "--name", "schlüssel", "--state-dir")


def run(*arguments: str, stdout: Any = subprocess.PIPE, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("LORAPLEX_")}
    env = {**own, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "0", **variables}
    command = [sys.executable, "-m", "loraplex_server.cli", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=env, check=False)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["version"], ["--help"]])
def test_what_cannot_be_written_is_a_failure_without_a_traceback(
    arguments: list[str], full: bool, unbuffered: str
) -> None:
    done = _unwritten(full, *arguments, PYTHONUNBUFFERED=unbuffered)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if full:
        assert (done.returncode, done.stderr) == (
            1,
            "loraplex: what it says cannot be written: No space left on device\n",
        )
    else:
        assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_key_that_nobody_has_seen_opens_nothing(tmp_path: Path, full: bool, form: list[str]) -> None:
    done = _unwritten(full, *CREATE, str(tmp_path), *form)
    assert done.returncode == (1 if full else 141)
    (key,) = KeyStore(tmp_path / "keys.sqlite").keys()
    assert key.revoked is not None
    deeds = [json.loads(line)["action"] for line in (tmp_path / "keys.audit.log").read_text().splitlines()]
    assert deeds == ["key.create", "key.revoke"]


def test_a_console_without_umlauts_gets_what_it_can_show(tmp_path: Path) -> None:
    assert run(*CREATE, str(tmp_path), PYTHONIOENCODING="ascii").returncode == 0
    shown = run("keys", "list", "--state-dir", str(tmp_path), PYTHONIOENCODING="ascii")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "schl\\xfcssel" in shown.stdout
    found = run("keys", "list", "--state-dir", str(tmp_path), "--json", PYTHONIOENCODING="ascii")
    assert json.loads(found.stdout)[0]["name"] == "schlüssel"


def _unwritten(full: bool, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    if full:
        with open("/dev/full", "w") as nowhere:
            return run(*arguments, stdout=nowhere, **variables)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return run(*arguments, stdout=writing, **variables)
    finally:
        os.close(writing)
