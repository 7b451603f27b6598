"""The engine's benchmark runs to its end on a machine without a GPU, on a model and adapters made in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from conftest import BENCHMARKS
from gpu import cold, cores
from gpu.decoding import MIXED, MODES, Rows, Shelf, bound_seconds
from gpu.random_adapters import write_adapters
from gpu.random_model import random_model
from synthetic.named import named_shape

from loraplex_adapters.source import AdapterSource
from loraplex_server.bench.limits.rates import Rates

CPU = torch.device("cpu")
HTTP = ("fastapi", "uvicorn", "zmq", "uvloop", "obstore")


@pytest.mark.slow
def test_the_whole_command_prints_one_table_and_keeps_its_figures(tmp_path):
    """In a process of its own, with no package of the server's HTTP side to be had."""
    code = f"import sys; sys.modules.update(dict.fromkeys({HTTP})); sys.path.insert(0, {str(BENCHMARKS)!r}); "
    code += "sys.argv[:] = sys.argv[1:]; import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    arguments = ["--device", "cpu", "--shape", "tiny", "--batch", "1", "2", "--context", "24", "--steps", "2"]
    command = [sys.executable, "-c", code, BENCHMARKS / "engine.py", *arguments, "--cold-rounds", "2"]
    paths = os.pathsep.join(str(BENCHMARKS.parent / part) for part in ("kernels", "adapters", "server"))
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([*command, "--results", tmp_path], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "| distinct against one |" in done.stdout
    (path,) = tmp_path.glob("engine-cpu*.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert [batch["batch"] for batch in found["batches"]] == [1, 2]
    for batch in found["batches"]:
        assert list(batch["modes"]) == list(MODES)
        assert all(mode["seconds"] > 0 for mode in batch["modes"].values())
    assert [len(found["cold_minus_warm_s"][tier]) for tier in ("file", "host")] == [6, 6]
    assert found["settings"]["quantization"] == "int4"


@pytest.fixture(scope="module")
def model():
    return random_model("tiny", "none", CPU, torch.float32, 128)


@pytest.fixture
def adapters(model, tmp_path):
    return write_adapters(tmp_path, model.config, [4, 4, 4, 4], CPU, torch.float32)


def test_the_random_model_is_finite_and_the_same_each_time(model):
    other = random_model("tiny", "none", CPU, torch.float32, 128)
    weights = [each.layers[0].mlp.down.weight.dequantized() for each in (model, other)]
    assert torch.equal(*weights)
    assert abs(weights[0].std() * 128**0.5 - 1) < 0.05


def test_adapters_change_what_the_engine_answers(model, adapters):
    core = cores.make_core(model, CPU, torch.float32, sequences=2, length=64, adapter_bytes=1 << 20)
    answers = {}
    for name, adapter in (("base", None), ("adapted", adapters[0])):
        cores.submit(core, name, 8, 12, adapter, seed=5)
        tokens = []
        while core.has_work:
            tokens += [token for delta in cores.step(core) for token in delta.token_ids]
        answers[name] = tokens
    assert len(answers["base"]) == len(answers["adapted"]) == 12
    assert answers["base"] != answers["adapted"]
    core.store.close()


def test_a_failing_request_ends_the_benchmark(model, tmp_path):
    core = cores.make_core(model, CPU, torch.float32, sequences=1, length=64, adapter_bytes=1 << 20)
    with pytest.raises(RuntimeError, match="a request failed"):
        cores.load(core, [AdapterSource("nowhere", str(tmp_path / "nowhere"), "")])
    core.store.close()


def test_cold_needs_more_adapters_than_fit(model, adapters):
    with pytest.raises(ValueError, match="more than 3 adapters"):
        cold.cold_minus_warm(model, CPU, torch.float32, adapters[:3], 1 << 16, 8, 1)


@pytest.fixture
def shelf():
    plain, mixed = ([AdapterSource(f"{kind}{number}", "", "") for number in range(64)] for kind in ("p", "m"))
    return Shelf(plain, mixed, 16)


def test_rows_of_a_batch_are_what_their_mode_says(shelf):
    assert shelf.rows("none", 3) == Rows((None,) * 3, ())
    assert len(set(shelf.rows("one", 32).adapters)) == 1
    assert len(set(shelf.rows("distinct", 32).adapters)) == 32
    zipf = shelf.rows("zipf", 32)
    assert 1 < len(set(zipf.adapters)) == len(zipf.ranks) < 32
    assert shelf.rows("mixed", 5).ranks == (*MIXED, MIXED[0])


def test_the_bound_of_an_int4_8b_on_an_h100(shelf):
    """docs and papers reckon with 4.65 GB of weights, 4.29 GB of keys and values, 83.9 MB an adapter."""
    shape, rates = named_shape("llama-3.1-8b"), Rates(3350, {"bfloat16": 989})
    none, distinct = (bound_seconds(shape, "int4", rates, shelf.rows(mode, 32), 1024) for mode in ("none", "distinct"))
    assert none == pytest.approx(2.67e-3, rel=0.01)
    assert distinct == pytest.approx(3.47e-3, rel=0.01)


def test_late_cold_starts_are_shown_beside_the_usual():
    assert cold.shown([]) == "none"
    assert cold.shown([0.001, 0.002, 0.05]) == "p50 2.0 ms, p99 50.0 ms of 3"
