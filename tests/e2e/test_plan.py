"""`loraplex plan` says what a running server takes, within 5 %.

Both processes of a server with adapters in use and its KV cache claimed, against the plan for it. Of a GPU only the
parts of the formula are tested (tests/server/plan, tests/kernels/test_weight_bytes.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import ROOT

CLOSE = 0.05


def benchmark(name: str, *arguments: str) -> str:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("server", "kernels", "adapters"))
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(ROOT / "benchmarks" / name), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.5 GB of weights, and eight adapters."""
    folder = tmp_path_factory.mktemp("small")
    benchmark("make_model.py", "--shape", "small", "--out", str(folder), "--adapters", "8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("form", ["bfloat16", "int8", "int4"])
def test_a_server_takes_what_was_planned(model: Path, form: str) -> None:
    sizes = ("--kv", "100MiB", "--adapter-memory", "80MiB", "--seats", "16", "--threads", "1")
    found = json.loads(benchmark("plan_memory.py", str(model), "--formats", form, *sizes))
    assert abs(found["off"]) < CLOSE, found
    assert abs(found["off_peak"]) < CLOSE, found
