"""The kernels' benchmark runs to its end on a machine without a GPU, and times nothing that is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import BENCHMARKS
from gpu import linear_ways, lora_ways
from gpu.clock import Clock
from gpu.lora_case import lora_case
from gpu.results import table
from gpu.shapes import Shape

CPU = torch.device("cpu")


def run(script, *arguments):
    """In a process of its own, as it is called, with no package of the server's HTTP side to be had."""
    blocked = "import sys; sys.modules.update(dict.fromkeys(('fastapi', 'uvicorn', 'zmq', 'uvloop', 'obstore')))"
    code = f"{blocked}; sys.path.insert(0, {str(BENCHMARKS)!r}); sys.argv[:] = sys.argv[1:]; import runpy; "
    code += f"runpy.run_path({str(BENCHMARKS / script)!r}, run_name='__main__')"
    root = BENCHMARKS.parent
    paths = os.pathsep.join(str(root / part) for part in ("kernels", "adapters", "server"))
    command = [sys.executable, "-c", code, script, "--device", "cpu", "--shape", "tiny", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})


@pytest.mark.slow
def test_the_whole_command_prints_its_tables_and_keeps_its_figures(tmp_path):
    done = run("kernels.py", "--rows", "1", "3", "--repeats", "2", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "| torch loop | gathered bmm |" in done.stdout
    assert "ours int4" in done.stdout
    (path,) = tmp_path.glob("kernels-cpu*.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["about"]["card"].startswith("cpu")
    assert found["about"]["versions"]["torch"] == torch.__version__
    assert {row["popularity"] for row in found["lora"]} == {"identical", "zipf", "distinct"}
    assert all(seconds > 0 for row in found["lora"] for seconds in row["seconds"].values())
    assert {row["way"] for row in found["linear"]} >= {"cuBLAS", "ours int4", "ours nf4", "ours fp8"}


@pytest.fixture
def case():
    return lora_case(Shape("qk", 48, (32, 16)), 6, "skewed", (8, 24), torch.float32, CPU)


def test_every_way_to_add_adapters_is_the_formula(case):
    expected = case.expected()
    assert not torch.equal(expected, case.y.double())
    for name, way in lora_ways.lora_ways(case).items():
        lora_ways.check(case, name, way, expected)


def test_a_wrong_way_is_not_timed(case):
    with pytest.raises(ArithmeticError, match="broken on qk is off"):
        lora_ways.check(case, "broken", lambda y: y.add_(1), case.expected())
    way = next(linear_ways.linear_ways(torch.randn(8, 128)))
    broken = linear_ways.LinearWay("broken", 1, way.call, lambda: way.weight() * 2)
    with pytest.raises(ArithmeticError, match="broken is off"):
        linear_ways.check(broken, torch.randn(2, 128))


def test_bytes_are_each_adapter_once_and_the_activations(case):
    ranks = {slot: (8, 24)[slot % 2] for slot in case.slots}
    weights = sum(rank * (48 + width) for rank in ranks.values() for width in (32, 16))
    assert case.nbytes == 4 * (weights + 6 * 48 + 2 * 6 * 48)


def test_a_clock_without_a_gpu_says_that_nothing_was_graphed():
    time = Clock(CPU, repeats=3).time(lambda: None)
    assert time.seconds >= 0
    assert str(time).endswith("*")


def test_tables_are_markdown():
    assert table(("a", "bc"), [(1, "x"), ("yy", 2)]) == "| a  | bc |\n|----|----|\n| 1  | x  |\n| yy | 2  |"
