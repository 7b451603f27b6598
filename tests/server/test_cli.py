"""The command: exit codes, messages, and the demo."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.fake_engine import INFO

from loraplex_server import __version__, cli, demo
from loraplex_server.api.process.start_error import StartError

pytestmark = pytest.mark.usefixtures("no_settings")
MANIFEST = {
    "base": "demo-base",
    "seed": 7,
    "adapters": [
        {
            "name": name,
            "task": f"does {name}",
            "variant": "plain",
            "ranks": [8],
            "example": {"prompt": "it's", "answer": "s'ti"},
            "accuracy": {"float32": 1.0},
        }
        for name in ("reverse", "upper")
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("base", "adapters"):
        (tmp_path / part).mkdir()
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "usage: loraplex COMMAND"),
        (["--help"], 0, "usage: loraplex COMMAND"),
        (["version"], 0, __version__),
        (["--version"], 0, __version__),
        (["version", "x"], 2, "unexpected argument 'x'"),
        (["serv"], 2, "unknown command 'serv'; did you mean serve?"),
        (["serve"], 2, "MODEL is missing"),
        (["serve", "m", "--prot", "1"], 2, "loraplex serve: unknown option --prot; did you mean --port?"),
        (["serve", "m", "--port", "x"], 2, "loraplex serve: --port: "),
        (["serve", "m", "--config", "/no"], 2, "cannot read the settings file /no"),
    ],
)
def test_bad_usage_exits_with_2_and_says_why(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == code
    captured = capsys.readouterr()
    assert said in (captured.err if code and arguments else captured.out)


def test_a_misspelt_variable_exits_with_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("LORAPLEX_MAX_NUM_SEQ", "5")
    assert cli.main(["serve", "m"]) == 2
    assert "LORAPLEX_MAX_NUM_SEQ; did you mean LORAPLEX_MAX_NUM_SEQS?" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_help_of_a_command_is_printed_without_loading_anything(command: str) -> None:
    code = f"import sys; from loraplex_server.cli import main; main([{command!r}, '--help'])"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.returncode == 0, run.stderr
    assert f"usage: loraplex {command}" in run.stdout
    assert ("MODEL" in run.stdout.splitlines()[0]) == (command == "serve")


def test_the_command_line_imports_nothing_heavy() -> None:
    code = (
        "import sys, loraplex_server.cli; print([m for m in ('torch', 'transformers', 'fastapi') if m in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env=env).strip() == "[]"


def test_a_server_that_cannot_start_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(settings: Any, lines: list[str]) -> None:
        raise StartError("no such device")

    monkeypatch.setattr("loraplex_server.api.process.serve.run", run)
    assert cli.main(["serve", "m"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "loraplex serve: no such device\n"


def test_an_interrupt_exits_as_shells_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(settings: Any, lines: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("loraplex_server.api.process.serve.run", run)
    assert cli.main(["serve", "m"]) == 130


def test_the_demo_serves_its_folder_with_any_option_overridden(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(cli, "find_demo", lambda: folder)
    monkeypatch.setattr(
        "loraplex_server.api.process.serve.run", lambda settings, on_ready, lines: seen.append(settings)
    )
    assert cli.main(["demo", "--port", "9", "--served-model-name", "other"]) == 0
    (settings,) = seen
    assert (settings.model, settings.adapters) == (str(folder / "base"), folder / "adapters")
    assert (settings.port, settings.base_names) == (9, ("other",))
    assert cli.main(["demo", "some-model"]) == 2


def test_the_demo_says_what_it_serves_and_how_to_try_it(folder: Path) -> None:
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        demo.Demo(folder).announce("http://127.0.0.1:8000", INFO, console)
        text = console.export_text()
    assert "demo-base" in text
    for name in ("reverse", "upper"):
        (row,) = [line.split() for line in text.splitlines() if line.strip().startswith(name)]
        assert row == [name, "it's", "→", "s'ti", "plain", "8"]
    lines = [line for line in text.splitlines() if line.startswith("curl")]
    assert len(lines) == 2
    for line, model, stream in zip(lines, ("reverse", "upper"), (False, True), strict=True):
        arguments = shlex.split(line)
        body = json.loads(arguments[arguments.index("-d") + 1])
        assert (body["model"], body.get("stream", False)) == (model, stream)
        assert body["messages"] == [{"role": "user", "content": "it's"}]
        assert "http://127.0.0.1:8000/v1/chat/completions" in arguments


def test_the_demo_is_found_in_a_checkout_then_in_the_package(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    package = tmp_path / "repo" / "server" / "loraplex_server"
    package.mkdir(parents=True)
    monkeypatch.setattr(demo, "__file__", str(package / "demo.py"))
    with pytest.raises(StartError, match="demo_assets"):
        demo.find_demo()
    (package / "demo_assets").symlink_to(folder)
    assert demo.find_demo() == package / "demo_assets"
    (tmp_path / "repo" / "examples").mkdir()
    (tmp_path / "repo" / "examples" / "demo").symlink_to(folder)
    assert demo.find_demo() == tmp_path / "repo" / "examples" / "demo"


def test_a_broken_manifest_is_named(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(StartError, match="manifest"):
        demo.Demo(folder)
