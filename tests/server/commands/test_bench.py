"""`loraplex bench`, as it is typed."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from support.checkpoints import write_adapters, write_base

from loraplex_server import cli

ADAPTERS = {f"a{number}": {"r": 2, "target_modules": ["q_proj"]} for number in range(2)}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_the_engine_is_measured_and_held_against_its_bound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], root_logger: logging.Logger
) -> None:
    base = write_base(tmp_path / "base")
    adapters = write_adapters(base, tmp_path / "adapters", ADAPTERS)
    out = tmp_path / "lines.jsonl"
    load = ["--concurrency", "2", "--requests", "4", "--popularity", "distinct", "--prompt", "8", "--output", "6"]
    engine = ["--adapters", str(adapters), "--dtype", "float32", "--kv-cache-memory", "8MiB", "--threads", "1"]
    more = ["--token-ids", "3:60", "--runs", "2", "--out", str(out), "--adapter-memory", "16MiB"]
    assert cli.main(["bench", "engine", str(base), *engine, *load, *more]) == 0
    printed = capsys.readouterr()
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line["kind"] for line in lines] == ["engine", "run", "run", "summary", "roofline"]
    assert [json.loads(line) for line in out.read_text().splitlines()] == lines
    assert lines[0]["info"]["dtype"] == "float32"
    assert (lines[3]["ok"], lines[3]["output_tokens"]) == (4, 24)
    assert 0 < lines[4]["decode"] < 1
    assert 0 < lines[4]["end_to_end"] < 1
    assert "decode reaches" in printed.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say serve or engine"),
        (("serv",), "did you mean serve?"),
        (("engine", "{base}", "--port", "1"), "--port means nothing without a server"),
        (("engine", "{base}", "--quantisation", "int8"), "did you mean --quantization?"),
        (("engine",), "MODEL is missing"),
    ],
)
def test_what_cannot_be_is_named(
    tmp_path: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", *(each.format(base=tmp_path) for each in arguments)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate", "3"), "--rate needs --requests"),
        (("--num-adapters", "1"), "there are only 0"),
        (("--token-ids", "3:6000", "--no-roofline"), "beyond the model's"),
    ],
)
def test_a_load_that_cannot_be_made_is_refused(
    tmp_path: Path,
    arguments: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    root_logger: logging.Logger,
) -> None:
    base = write_base(tmp_path / "base")
    small = ["--kv-cache-memory", "8MiB", "--adapter-memory", "16MiB", "--threads", "1"]
    assert cli.main(["bench", "engine", str(base), *small, *arguments]) == 1
    assert said in capsys.readouterr().err


def test_help_names_both_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "-h"]) == 0
    shown = capsys.readouterr().out
    assert "serve " in shown
    assert "engine " in shown


@pytest.mark.parametrize("command", ["serve", "engine"])
def test_help_of_a_command_shows_its_load(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["bench", command, "-h"])
    assert left.value.code == 0
    assert "--popularity" in capsys.readouterr().out
