"""The Dockerfile as a text; that it builds and what it builds is in image/."""

from __future__ import annotations

import re
import subprocess
import sys

from support.installed import folder_of
from support.servers import ROOT

from loraplex_server import __version__

RECIPE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_hadolint_finds_no_fault() -> None:
    judge = folder_of("deploy") / "bin" / "hadolint"
    done = subprocess.run([judge, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_version_is_the_projects() -> None:
    assert f"ARG VERSION={__version__}\n" in RECIPE


def test_the_context_has_all_that_is_copied_and_little_else() -> None:
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((ROOT / path).exists() for path in sent)
    copies = [line.split()[1:-1] for line in RECIPE.splitlines() if line.startswith("COPY ") and "--from" not in line]
    for path in (path for paths in copies for path in paths if path != "."):
        assert any(path == each or path.startswith(f"{each}/") for each in sent), path


def requirements(*extras: str) -> subprocess.CompletedProcess[str]:
    tool = [sys.executable, ROOT / "tools" / "requirements.py", *extras]
    return subprocess.run(tool, cwd=ROOT, capture_output=True, text=True)


def test_what_the_image_installs_is_what_the_project_needs_and_the_extras_asked_for() -> None:
    alone, more = requirements().stdout.splitlines(), requirements("train").stdout.splitlines()
    names = {re.split(r"[^\w-]", line)[0] for line in alone}
    assert {"torch", "transformers", "fastapi", "llguidance"} <= names
    assert {re.split(r"[^\w-]", line)[0] for line in more} - names == {"peft"}
    cuda = requirements("--cuda").stdout.splitlines()
    assert {re.split(r"[^\w-]", line)[0] for line in cuda} - names == {"triton"}


def test_an_unknown_extra_is_an_error() -> None:
    done = requirements("nobody")
    assert done.returncode == 2
    assert "nobody" in done.stderr


def test_cudas_torch_is_refused_where_nobody_asked_for_it() -> None:
    assert "ARG ALLOW_CUDA=\n" in RECIPE
    assert "python install_torch.py constraints.txt" in RECIPE
