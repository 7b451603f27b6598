"""make's way from a clone to an environment, with programs that stand for Python and pip."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import tomllib
from packaging.specifiers import SpecifierSet
from support.servers import ROOT

# -c is the question whether it is new enough. `-m venv FOLDER` makes a python that knows pip alone, as make calls it.
PYTHON = """#!/bin/sh
case "$1" in
  -c) exit {old} ;;
  -V) echo Python 3.10.12; exit ;;
esac
mkdir -p "$3/bin"
cat > "$3/bin/python" <<'END'
#!/bin/sh
[ "$2" != pip ] || printf '#!/bin/sh\\necho served' > "${{0%/*}}/loraplex"
[ "$2" != pip ] || chmod +x "${{0%/*}}/loraplex"
END
chmod +x "$3/bin/python"
exit {failed}
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "hatch_build.py"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def demo(clone: Path, *, old: int = 0, failed: int = 0) -> subprocess.CompletedProcess[str]:
    python = clone / "python"
    python.write_text(PYTHON.format(old=old, failed=failed), encoding="utf-8")
    python.chmod(0o755)
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}  # make test
    return subprocess.run(["make", f"PYTHON={python}", "demo"], cwd=clone, env=alone, capture_output=True, text=True)


def test_the_oldest_python_is_said_alike_and_has_every_pin() -> None:
    said = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    oldest = said.removeprefix(">=")
    for name in ("Makefile", "README.md", "CONTRIBUTING.md", "Dockerfile"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert set(re.findall(r"(?:Python (?:[≥]|>=)? ?|PYTHON=python|python:)(3\.\d+)", text)) <= {oldest}, name
    pins = re.findall(r"^([^#=]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    installed = {
        re.sub("[-_.]+", "-", each.metadata["Name"]).lower(): each for each in importlib.metadata.distributions()
    }
    wanted = {name: installed[name].metadata["Requires-Python"] for name in pins if name in installed}
    assert len(wanted) > len(pins) / 2
    assert {name: it for name, it in wanted.items() if it and f"{oldest}.0" not in SpecifierSet(it)} == {}


def test_a_python_that_is_too_old_is_named_before_anything_is_made(clone: Path) -> None:
    done = demo(clone, old=1)
    assert done.returncode != 0
    assert f"Python 3.11 or later is needed, and {clone / 'python'} is Python 3.10.12" in done.stderr
    assert "make demo PYTHON=python3.11" in done.stderr
    assert not (clone / ".venv").exists()


def test_an_environment_that_failed_half_way_is_made_anew(clone: Path) -> None:
    """Debian's python3 without python3-venv leaves one that has a python and no pip."""
    assert demo(clone, failed=1).returncode != 0
    assert not (clone / ".venv").exists()
    assert demo(clone).stdout.endswith("served\n")


def test_an_environment_that_was_removed_is_installed_again(clone: Path) -> None:
    assert demo(clone).returncode == 0
    shutil.rmtree(clone / ".venv")
    assert demo(clone).stdout.endswith("served\n")
    again = demo(clone).stdout
    assert again.endswith("served\n")
    assert "install" not in again
