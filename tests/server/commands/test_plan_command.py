"""`loraplex plan`, as it is typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import DEMO

from loraplex_server.cli import main

BASE = str(DEMO / "base")
ON_CPU = ["--cpu", "--memory", "2GiB"]


@pytest.fixture(autouse=True)
def torch_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """These commands run in the process of the tests, where others need it."""
    monkeypatch.setattr("loraplex_server.commands.plan.hide_torch", lambda: None)


def run(*arguments: str) -> int:
    return main(["plan", "--model", BASE, *arguments])


def test_people_get_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*ON_CPU, "--adapters", "100", "--rank", "8", "--bandwidth", "40") == 0
    said = capsys.readouterr().out
    for part in ("weights: linears", "KV cache", "100 of 100 adapters fit: all of them", "no server decodes faster"):
        assert part in " ".join(said.split())
    assert run(*ON_CPU) == 0
    assert "--bandwidth GB/S, or a GPU by its name, adds the bound" in " ".join(capsys.readouterr().out.split())


def test_machines_get_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--gpu", "h100", "--adapters", "1000", "--tensor-parallel-size", "2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    parts = (found["weights"], found["kv_cache"], found["adapters"], found["steps"])
    assert found["total"] == sum(part["total"] for part in parts) + found["overhead"]
    assert found["adapters"]["resident"] == 1000
    assert [bound["batch"] for bound in found["bounds"]] == [1, 8, 32]


def test_an_adapter_that_is_there_says_itself_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*ON_CPU, "--adapter", str(DEMO / "adapters" / "words"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["adapters"]["about"].startswith("words: rank 4, 8, 24 on ")
    assert run(*ON_CPU, "--adapter", "/nowhere") == 1
    assert "--adapter: /nowhere is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one of the arguments --gpu --cpu is required"),
        (["--cpu"], "--cpu: --memory SIZE says how much the server may take"),
        (["--gpu", "huge"], "'huge' is neither a size such as 80GB nor one of b200"),
        (["--gpu", "80GB", "--adapters", "-1"], "--adapters: a whole number from 0, got '-1'"),
        (["--gpu", "80GB", "--rank", "0"], "--rank: a whole number from 1, got '0'"),
        (["--gpu", "80GB", "--bandwidth", "fast"], "'fast' is no number above 0"),
        (["--gpu", "80GB", "--gpu-memory-utilization", "1.5"], "more than all of it"),
        (["--gpu", "80GB", "--quantization", "int3"], "invalid choice: 'int3'"),
        ([*ON_CPU, "--tensor-parallel-size", "2"], "--tensor-parallel-size"),
        ([*ON_CPU, "--gpu-memory-utilization", "0.5"], "--gpu-memory-utilization is a GPU's"),
        ([*ON_CPU, "--adapter", str(DEMO / "adapters" / "words"), "--rank", "8"], "leave out --rank and --targets"),
    ],
)
def test_a_bad_argument_is_bad_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert said in capsys.readouterr().err


def test_a_host_may_keep_no_adapters(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*ON_CPU, "--adapter-host-memory", "0", "--json") == 0
    assert run(*ON_CPU, "--adapter-memory", "0") == 2
    assert "'0' is no size" in capsys.readouterr().err


def test_what_is_no_server_is_a_failure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["plan", "--model", str(tmp_path), "--gpu", "80GB"]) == 1
    assert "holds no config.json" in capsys.readouterr().err
    assert run("--cpu", "--memory", "100MB") == 1
    assert "does not fit" in capsys.readouterr().err


def test_no_torch_is_imported() -> None:
    program = "import sys; from loraplex_server.cli import main; main(sys.argv[1:]); print(sys.modules.get('torch'))"
    command = [sys.executable, "-W", "error", "-c", program, "plan", "--model", BASE, *ON_CPU, "--json"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(command, text=True, env=env, capture_output=True, check=False)
    assert (found.stdout.splitlines()[-1], found.stderr) == ("None", "")
