"""The engine's benchmark runs to its end on a machine without a GPU, on a model and adapters made in memory."""

from __future__ import annotations

import json

import pytest
import torch
from bare_machine import run_bare
from gpu import cold, cores, decode_rows
from gpu.decoding import MIXED, MODES, Rows, Shelf, bound_seconds
from gpu.random_adapters import write_adapters
from gpu.random_model import random_model
from gpu.twice import compared, same_twice
from synthetic.named import named_shape

from loraplex_adapters.source import AdapterSource
from loraplex_server.bench.limits.rates import Rates

CPU = torch.device("cpu")
TINY = ("--device", "cpu", "--shape", "tiny", "--batch", "1", "2", "--context", "24", "--steps", "2")


@pytest.mark.slow
def test_the_whole_command_prints_its_rows_and_keeps_its_figures(tmp_path):
    done = run_bare("engine.py", *TINY, "--cold-rounds", "2", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "| same twice | 2        | the same bits |" in done.stdout
    assert "| from host memory |" in done.stdout
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["finished"]
    modes = {size: [row for row in found["decode"] if row["batch"] == size] for size in (1, 2)}
    assert [row["mode"] for row in modes[1]] == ["off", "none", "one", "mixed", "same twice"]
    assert [row["mode"] for row in modes[2]] == [*MODES, "same twice"]
    assert [row["distinct"] for row in modes[2][:-1]] == [0, 0, 1, 2, 2, 2, 1]
    assert all(len(row["repeats"]) == 3 and row["seconds"] > 0 for row in modes[2][:-1])
    assert [len(found["cold_minus_warm_s"][tier]) for tier in ("file", "host")] == [6, 6]
    assert found["settings"]["quantization"] == "int4"


def test_the_one_missing_package_is_named(tmp_path):
    done = run_bare("engine.py", *TINY, "--results", tmp_path, lacking=("msgspec",))
    assert done.returncode == 1
    assert done.stderr.strip() == "benchmarks/engine.py needs the package msgspec (one wheel: pip install msgspec)"


@pytest.fixture(scope="module")
def model():
    return random_model("tiny", "none", CPU, torch.float32, 128)


@pytest.fixture
def adapters(model, tmp_path):
    return write_adapters(tmp_path, model.config, [4, 4, 4, 4], CPU, torch.float32)


def make_core(model, **options):
    return cores.make_core(model, CPU, torch.float32, **{"adapter_bytes": 1 << 20, **options})


def test_the_random_model_is_finite_and_the_same_each_time(model):
    other = random_model("tiny", "none", CPU, torch.float32, 128)
    weights = [each.layers[0].mlp.down.weight.dequantized() for each in (model, other)]
    assert torch.equal(*weights)
    assert abs(weights[0].std() * 128**0.5 - 1) < 0.05


def test_adapters_change_what_the_engine_answers(model, adapters):
    core = make_core(model, sequences=2, length=64)
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


def test_a_failing_request_is_an_error(model, tmp_path):
    core = make_core(model, sequences=1, length=64)
    with pytest.raises(RuntimeError, match="a request failed"):
        cores.load(core, [AdapterSource("nowhere", str(tmp_path / "nowhere"), "")])
    core.store.close()


def test_repeats_follow_one_another_without_a_second_prefill(model, monkeypatch):
    core, prompts, submit = make_core(model, sequences=2, length=100), [], cores.submit

    def seen(core, name, prompt, *rest, **more):
        prompts.append(prompt)
        return submit(core, name, prompt, *rest, **more)

    monkeypatch.setattr(cores, "submit", seen)
    time = cores.decode_time(core, 24, [None, None], steps=4, repeats=3)
    assert time.seconds == sorted(time.repeats)[1]
    assert prompts == [1, 18, 18]  # what loads adapters, and the two rows: 24 tokens in the middle of 12 steps
    core.store.close()


def test_a_mode_that_fails_is_a_row_and_the_next_is_measured(model, adapters, tmp_path):
    broken = AdapterSource("nowhere", str(tmp_path / "nowhere"), "")
    served = decode_rows.Served(
        model, CPU, torch.float32, "tiny", "none", Rates(64, {"bfloat16": 1}), context=24, steps=2, repeats=3
    )
    plan = {"none": Rows((None, None), ()), "one": Rows((broken, broken), (4,)), "distinct": Rows(adapters[:2], (4, 4))}
    rows = list(decode_rows.Batch(served, 2, plan).measured())
    assert [kept["failed"] is None for _, kept in rows] == [True, False, True, True]
    assert rows[1][0][3].shown == "failed: RuntimeError"
    assert "a request failed" in rows[1][1]["failed"]
    assert all(len(cells) == len(decode_rows.COLUMNS) for cells, _ in rows)


def test_the_same_batch_twice_gives_the_same_bits(model, adapters):
    core = make_core(model, sequences=3, length=64)
    twice = same_twice(core, 8, [adapters[0], None, adapters[1]], tokens=6)
    assert twice.same
    assert twice.rows == 3
    core.store.close()


def test_other_tokens_and_other_logprobs_are_told_apart():
    first = {"a": [(1, -0.5), (2, -1.0)], "b": [(1, -0.5), (2, -1.0)], "c": [(7, -0.1)]}
    second = {"a": [(1, -0.5), (2, -1.0)], "b": [(1, -0.5), (3, -9.0)], "c": [(7, -0.2)]}
    twice = compared(first, second)
    assert (twice.same_tokens, twice.same_logprobs, twice.same) == (2, 1, False)
    assert twice.largest == pytest.approx(0.1)
    assert str(twice) == "other tokens in 1 rows, other logprobs in 2, by 0.1 at most"


def test_cold_needs_more_adapters_than_fit(model, adapters):
    with pytest.raises(ValueError, match="more than 3 adapters"):
        cold.cold_minus_warm(model, CPU, torch.float32, adapters[:3], 1 << 16, 8, 1)


@pytest.fixture
def shelf():
    plain, mixed = ([AdapterSource(f"{kind}{number}", "", "") for number in range(64)] for kind in ("p", "m"))
    return Shelf(plain, mixed, 16)


def test_rows_of_a_batch_are_what_their_mode_says(shelf):
    for mode in ("off", "none"):
        assert shelf.rows(mode, 3) == Rows((None,) * 3, ())
    assert len(set(shelf.rows("one", 32).adapters)) == 1
    assert len(set(shelf.rows("distinct", 32).adapters)) == 32
    zipf = shelf.rows("zipf", 32)
    assert len(set(zipf.adapters)) == len(zipf.ranks) == 20
    assert shelf.rows("mixed", 5).ranks == (*MIXED, MIXED[0])
    beside = shelf.rows("beside", 5)
    assert [adapter is None for adapter in beside.adapters] == [True, False, True, False, True]
    assert len(set(beside.adapters) - {None}) == len(beside.ranks) == 2


def test_a_batch_of_one_row_has_no_modes_of_many(shelf):
    assert list(shelf.plan(MODES, 1)) == ["off", "none", "one", "mixed"]
    assert list(shelf.plan(("zipf", "none"), 8)) == ["none", "zipf"]


def test_the_bound_of_an_int4_8b_on_an_h100(shelf):
    """docs and papers reckon with 4.65 GB of weights, 4.29 GB of keys and values, 83.9 MB an adapter."""
    shape, rates = named_shape("llama-3.1-8b"), Rates(3350, {"bfloat16": 989})
    none, distinct, zipf = (
        bound_seconds(shape, "int4", rates, shelf.rows(mode, 32), 1024) for mode in ("none", "distinct", "zipf")
    )
    assert none == pytest.approx(2.67e-3, rel=0.01)
    assert distinct == pytest.approx(3.47e-3, rel=0.01)
    assert zipf == pytest.approx(3.17e-3, rel=0.01)


def test_a_percentile_is_told_of_a_hundred_and_more():
    assert cold.shown([]) == ("none", "", "", 0)
    assert cold.shown([0.001, 0.002, 0.05]) == ("2.00", "under 100", "50.00", 3)
    assert cold.shown([0.001] * 119 + [0.05])[1:3] == ("1.00", "50.00")
    assert cold.shown([0.001] * 98 + [0.04, 0.05])[1] == "50.00"
