"""`loraplex adapters list|show|add|remove|pin|unpin|alias`, against a server on a real socket."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from support.api import Api, build_renderer, write_adapters
from support.fake_engine import FakeEngine


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapters(tmp_path_factory.mktemp("places"), "one", "two")


@pytest.fixture(scope="module")
def server(places: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = write_adapters(tmp_path_factory.mktemp("adapters"), "alpha", "beta")
    engine = FakeEngine(lambda request, index: [10])
    api = Api(engine, build_renderer(), root, admin_key=["admin"], api_key=["user"], allow_adapter_source=[str(places)])
    config = uvicorn.Config(api.app, log_config=None, lifespan="on")
    running = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        running.should_exit = True
        thread.join()


@pytest.fixture
def run(
    command: Callable[..., tuple[int, str, str]], server: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("LORAPLEX_URL", server)
    monkeypatch.setenv("LORAPLEX_ADMIN_KEY", "admin")
    monkeypatch.setenv("COLUMNS", "200")
    return partial(command, "adapters")


Run = Callable[..., tuple[int, str, str]]


def test_adapters_are_listed(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    rows = [line.split()[:2] for line in out.splitlines() if "on_disk" in line]
    assert rows == [["alpha", "on_disk"], ["beta", "on_disk"]]
    found = json.loads(run("list", "--json", "--state", "on_disk")[1])
    assert [adapter["name"] for adapter in found] == ["alpha", "beta"]
    assert json.loads(run("list", "--json", "--state", "device")[1]) == []


def test_one_is_added_changed_and_removed(run: Run, places: Path) -> None:
    code, out, err = run("add", "new", str(places / "one"), "--pin", "--alias", "prod")
    assert (code, err) == (0, "")
    assert str(places / "one") in out
    shown = json.loads(run("show", "prod", "--json")[1])
    assert (shown["name"], shown["aliases"], shown["pinned"]) == ("new", ["prod"], True)
    assert json.loads(run("unpin", "new", "--json")[1])["pinned"] is False
    assert json.loads(run("pin", "new", "--json")[1])["pinned"] is True
    assert json.loads(run("alias", "new", "a", "b", "--json")[1])["aliases"] == ["a", "b", "prod"]
    assert json.loads(run("alias", "new", "prod", "a", "--remove", "--json")[1])["aliases"] == ["b"]
    code, _, err = run("alias", "new", "b", "typo", "--remove")
    assert (code, "adapter 'new' has no alias 'typo'" in err) == (1, True)
    assert json.loads(run("show", "new", "--json")[1])["aliases"] == ["b"]
    code, _, err = run("add", "new", str(places / "two"))
    assert (code, "comes from" in err) == (1, True)
    assert run("add", "new", str(places / "two"), "--replace", "--no-preload")[0] == 0
    code, out, _ = run("remove", "new")
    assert (code, out) == (0, "removed new\n")
    code, _, err = run("show", "new")
    assert (code, "new" in err) == (1, True)


def test_a_relative_folder_is_the_callers(run: Run, places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places)
    assert run("add", "near", "./one")[0] == 0
    assert json.loads(run("show", "near", "--json")[1])["source"]["location"] == str(places / "one")
    assert run("remove", "near")[0] == 0


def test_what_the_server_refuses_is_told(run: Run, places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "do not let adapters come from" in run("add", "x", "/etc")[2]
    assert "folder" in run("remove", "alpha")[2]
    monkeypatch.delenv("LORAPLEX_ADMIN_KEY")
    assert "API key" in run("list")[2]
    monkeypatch.setenv("LORAPLEX_API_KEY", "user, other")
    assert run("list")[0] == 0
    assert "admin key" in run("remove", "alpha")[2]
    assert run("add", "x", str(places / "one"), "--admin-key", "admin")[0] == 0
    assert run("remove", "x", "--admin-key", "admin")[0] == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ftp://x", "127.0.0.1:8000", "http://[bad"])
def test_a_server_that_is_not_there_is_told(run: Run, url: str) -> None:
    code, _, err = run("list", "--url", url)
    assert code == 1
    assert url in err


def test_bad_usage_exits_with_2(run: Run) -> None:
    for arguments in ([], ["gone"], ["show"], ["list", "--state", "gone"], ["add", "x"]):
        code, _, err = run(*arguments)
        assert (code, "`loraplex adapters --help`" in err) == (2, True), arguments


def test_help_is_shown_without_loading_anything(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["add", "--help"], ["check", "--help"]):
        with pytest.raises(SystemExit) as ended:
            run(*arguments)
        assert ended.value.code == 0
        assert "usage: loraplex adapters" in capsys.readouterr().out


def test_the_pages_of_a_long_list_are_put_together(run: Run, monkeypatch: pytest.MonkeyPatch, server: str) -> None:
    from loraplex_server.commands import client

    monkeypatch.setattr(client, "PAGE", 1)
    found: list[Any] = json.loads(run("list", "--json")[1])
    assert [adapter["name"] for adapter in found] == ["alpha", "beta"]
