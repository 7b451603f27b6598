"""The process that speaks HTTP has no torch in it, and its tokenizers work all the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support.servers import DEMO

from loraplex_server.torch_free import hide_torch

PROGRAM = """
import sys
from loraplex_server.torch_free import hide_torch
hide_torch()
import loraplex_server.api.process.serve
from loraplex_server.api.rendering.renderer import load_renderer
renderer = load_renderer(sys.argv[1])
print([name for name in sys.modules if name.startswith("torch.")], renderer.tokenizer.encode("a").ids != [])
"""


def test_what_the_server_imports_needs_no_torch() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(DEMO / "base")],
        text=True,
        env=env,
        capture_output=True,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("[] True\n", "")


def test_torch_that_is_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    there = object()
    monkeypatch.setitem(sys.modules, "torch", there)
    hide_torch()
    assert sys.modules["torch"] is there
