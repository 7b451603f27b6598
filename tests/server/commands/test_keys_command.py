"""`loraplex keys`: on the file alone; a server is not needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from loraplex_server.tenants.keyring import Keyring, open_keys
from loraplex_server.tenants.secret import is_secret

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(command: Run, state: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("LORAPLEX_STATE_DIR", str(state))
    monkeypatch.setenv("COLUMNS", "160")
    return partial(command, "keys")


def made(run: Run, *arguments: str) -> dict[str, Any]:
    code, out, _ = run("create", "--json", *arguments)
    assert code == 0
    return dict(json.loads(out))


def test_what_is_made_opens_and_says_what_was_asked_for(run: Run, state: Path) -> None:
    key = made(
        run, "--tenant", "acme", "--adapters", "acme-*, base", "--rpm", "60", "--tpm", "9000", "--concurrency", "2",
        "--priority", "-1", "--weight", "2.5", "--expires", "2999-01-01", "--name", "night",
    )  # fmt: skip
    secret = key.pop("secret")
    assert is_secret(secret)
    kept = Keyring(open_keys(state / "keys.sqlite")).by_secret(secret)
    assert kept is not None
    assert kept.fields() == key
    assert {name: key[name] for name in ("tenant", "adapters", "requests_per_minute", "weight", "expires")} == {
        "tenant": "acme",
        "adapters": ["acme-*", "base"],
        "requests_per_minute": 60,
        "weight": 2.5,
        "expires": 32_472_144_000,
    }


def test_a_key_is_shown_once(run: Run) -> None:
    code, out, _ = run("create", "--tenant", "acme")
    secret = out.split()[0]
    assert code == 0
    assert is_secret(secret)
    assert "not shown again" in out
    for arguments in (["list"], ["list", "--json"], ["show", secret]):
        code, out, _ = run(*arguments)
        assert code == 0
        assert "acme" in out
        assert secret not in out


def test_a_list_that_no_terminal_shows_has_whole_names(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    adapters = ",".join(f"acme-adapter-{number:02}" for number in range(30))
    made(run, "--tenant", "acme-" + "europe" * 8, "--adapters", adapters)
    (line,) = [line for line in run("list")[1].splitlines() if "active" in line]
    assert "acme-" + "europe" * 8 in line
    assert adapters.replace(",", ", ") in line


def test_all_are_listed(run: Run) -> None:
    made(run, "--tenant", "acme", "--rpm", "1000", "--name", "night", "--weight", "2")
    made(run, "--tenant", "ops", "--admin", "--expires", "1h")
    code, out, _ = run("list")
    assert code == 0
    for word in ("acme", "(night)", "1,000 rpm", "weight 2", "ops", "administers"):
        assert word in out
    assert [key["tenant"] for key in json.loads(run("list", "--json")[1])] == ["acme", "ops"]


@pytest.mark.parametrize("by", ["id", "secret"])
def test_one_is_revoked_by_its_id_or_by_itself(run: Run, by: str) -> None:
    key = made(run, "--tenant", "acme")
    other = made(run, "--tenant", "acme")
    code, out, _ = run("revoke", key[by])
    assert (code, out.strip()) == (0, f"revoked {key['id']} of acme")
    assert [each["state"] for each in json.loads(run("list", "--json")[1])].count("revoked") == 1
    assert json.loads(run("show", other["id"], "--json")[1])["state"] == "active"
    assert json.loads(run("revoke", key["id"], "--json")[1])["state"] == "revoked"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create"], "--tenant"),
        (["create", "--tenant", "a b"], "--tenant: must be"),
        (["create", "--tenant", "a", "--rpm", "0"], "--rpm: "),
        (["create", "--tenant", "a", "--tpm", "many"], "--tpm: "),
        (["create", "--tenant", "a", "--weight", "inf"], "--weight: "),
        (["create", "--tenant", "a", "--expires", "soon"], "--expires: must be"),
        (["create", "--tenant", "a", "--adapters", "x,,y"], "--adapters: "),
        (["create", "--tenant", "a", "--admin", "--adapters", "x"], "--admin: such a key"),
        (["create", "--tenant", "a", "--keys", "x", "--state-dir", "y"], "--state-dir"),
        (["nonsense"], "nonsense"),
    ],
)
def test_a_bad_argument_is_named(run: Run, arguments: list[str], said: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert said in err


def test_what_is_not_there_is_said_so(run: Run, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("list")[0] == 1
    assert "loraplex keys create" in run("list")[2]
    key = made(run, "--tenant", "acme")
    code, _, err = run("show", key["secret"][:-1])
    assert code == 1
    assert key["secret"][:-1] not in err
    assert "no key 'nobody'" in run("revoke", "nobody")[2]
    monkeypatch.delenv("LORAPLEX_STATE_DIR")
    assert run("list")[0] == 2


def test_a_yaml_file_is_read_and_written_by_hand(run: Run, tmp_path: Path) -> None:
    printed = made(run, "--tenant", "acme", "--rpm", "5", "--yaml")
    file = tmp_path / "keys.yaml"
    file.write_text(yaml.safe_dump({"keys": [printed["item"]]}))
    (listed,) = json.loads(run("list", "--keys", str(file), "--json")[1])
    assert (listed["tenant"], listed["requests_per_minute"]) == ("acme", 5)
    assert Keyring(open_keys(file)).by_secret(printed["secret"]) is not None
    assert "revoked: true" in run("revoke", listed["id"], "--keys", str(file))[2]
    assert "--yaml" in run("create", "--tenant", "x", "--keys", str(file))[2]
    out = run("create", "--tenant", "acme", "--yaml")[1]
    assert yaml.safe_load(out[out.index("- id") :])[0]["tenant"] == "acme"
