"""The tests that need a GPU begin on a machine that has one, and little else."""

from __future__ import annotations

import configparser
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import interpreter

TESTS = Path(__file__).parent
SETTINGS = TESTS / "gpu.ini"


def bare_pytest(*arguments: str, cwd: Path = TESTS) -> str:
    """What it prints on such a machine."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "-p xdist -p support.bare",
        "PYTHONPATH": str(TESTS),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(SETTINGS), *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_all_of_them_are_collected_without_what_a_server_needs() -> None:
    collected = bare_pytest("--collect-only", "-m", "gpu").splitlines()
    files = {line.partition("::")[0] for line in collected if "::" in line}
    marked = {
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("test_*.py")
        if path != Path(__file__) and "pytest.mark.gpu" in path.read_text(encoding="utf-8")
    }
    assert files == marked
    listed = configparser.ConfigParser()
    listed.read(SETTINGS)
    assert set(listed["pytest"]["testpaths"].split()) == marked


def test_pytest_that_a_test_starts_has_the_same_settings(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner.py", tmp_path / "test_outer.py"
    inner.write_text(
        "import importlib.util\n"
        "def test_inner(pytestconfig):\n"
        "    assert pytestconfig.inipath.name == 'gpu.ini'\n"
        "    assert importlib.util.find_spec('pydantic') is None\n"
    )
    outer.write_text(
        "from pathlib import Path\n"
        "from support.interpreter import run_tests\n"
        "def test_outer():\n"
        "    run_tests([Path(__file__).with_name('inner.py')], interpret=True)\n"
    )
    assert "1 passed" in bare_pytest("-p", "conftest", str(outer), cwd=tmp_path)


def test_tests_on_a_gpu_share_its_compiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner.py").write_text(
        "import os, pytest\n"
        "@pytest.mark.parametrize('place', range(8))\n"
        "def test_inner(place):\n"
        "    assert 'TRITON_INTERPRET' not in os.environ\n"
        f"    open(os.path.join({str(tmp_path)!r}, os.environ['PYTEST_XDIST_WORKER']), 'w').close()\n"
    )
    monkeypatch.setattr(interpreter, "WORKERS", 2)
    monkeypatch.setattr(interpreter, "usable_cores", lambda: 2)
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p conftest")
    interpreter.run_tests([tmp_path / "inner.py"], interpret=False)
    assert sorted(path.name for path in tmp_path.glob("gw*")) == ["gw0", "gw1"]


def test_without_xdist_there_are_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert interpreter.workers() == []
