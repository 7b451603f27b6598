"""The kernels' benchmark runs to its end on a machine without a GPU, times nothing that is wrong, and goes on."""

from __future__ import annotations

import json

import pytest
import torch
from bare_machine import run_bare, script_module
from gpu import linear_ways, lora_ways, part
from gpu.lora_case import lora_case
from gpu.outcome import Failure, WrongError
from gpu.shapes import Shape

kernels_script = script_module("kernels")
CPU = torch.device("cpu")
TINY = ("--device", "cpu", "--shape", "tiny", "--rows", "1", "3", "--repeats", "2")
PARTS = ("linear", "lora", "attention", "sampling", "small")


@pytest.mark.slow
def test_the_whole_command_runs_where_nothing_is_installed(tmp_path):
    """Nothing but torch, Triton and numpy."""
    lacking = ("msgspec", "transformers", "tokenizers", "safetensors", "huggingface_hub", "httpx", "yaml")
    done = run_bare("kernels.py", *TINY, "--results", tmp_path, lacking=lacking)
    assert done.returncode == 0, done.stderr
    assert "| torch loop | gathered bmm |" in done.stdout
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("kernels-cpu")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["finished"]
    assert found["about"]["card"].startswith("cpu")
    assert {row["popularity"] for row in found["lora"]} == {"identical", "zipf", "distinct"}
    assert {row["way"] for row in found["linear"]} >= {"cuBLAS", "ours int4", "ours nf4", "ours fp8"}
    assert [row["kind"] for row in found["attention"]] == ["decode", "decode", "prefill", "prefill"]
    assert [row["rows"] for row in found["sampling"]] == [row["rows"] for row in found["small"]] == [1, 3]
    for name in PARTS:
        assert all(seconds > 0 for row in found[name] for seconds in row["seconds"].values())


@pytest.fixture
def case():
    return lora_case(Shape("qk", 48, (32, 16)), 6, "skewed", (8, 24), torch.float32, CPU)


def test_every_way_to_add_adapters_is_the_formula(case):
    expected = case.expected()
    assert not torch.equal(expected, case.y.double())
    for name, build in lora_ways.builders(case).items():
        lora_ways.check(case, name, build(case), expected)


def test_repeated_cases_are_the_same_in_memory_of_their_own(case):
    expected, cases = case.expected(), case.repeated(3)
    for name, build in lora_ways.builders(case).items():
        for each in cases:
            lora_ways.check(each, name, build(each), expected)
    places = {each.table.weights(slot, 0).a.data_ptr() for each in cases for slot in each.slots}
    assert len(places) == 3 * case.distinct
    assert len({each.x.data_ptr() for each in cases}) == 3


def test_int8_cases_are_repeated_too():
    case = lora_case(Shape("q", 48, (32,)), 4, "distinct", (8, 24), torch.float32, CPU, int8=True)
    expected = case.expected()
    for each in case.repeated(2):
        lora_ways.check(each, "ours", lora_ways.builders(each)["ours"](each), expected)


def test_a_wrong_way_is_not_timed(case):
    with pytest.raises(WrongError, match="broken on qk is off"):
        lora_ways.check(case, "broken", lambda y: y.add_(1), case.expected())
    way = linear_ways.linear_way("cuBLAS", torch.randn(8, 128))
    with pytest.raises(WrongError, match="cuBLAS at 2 rows is off"):
        linear_ways.check(way, torch.randn(2, 128), way.weight().double() * 2)


def test_a_weight_again_is_the_same_in_memory_of_its_own():
    weight = torch.randn(64, 128)
    x = torch.randn(2, 128)
    for name in linear_ways.names(CPU):
        way = linear_ways.linear_way(name, weight)
        other = way.again()
        assert torch.equal(way.call(x), other.call(x))
        assert (other.name, other.nbytes) == (way.name, way.nbytes)
    assert linear_ways.linear_way("cuBLAS", weight).again().weight().data_ptr() != weight.data_ptr()


def test_a_form_is_checked_at_each_number_of_rows(monkeypatch, tmp_path, capsys):
    """Tiles of 16 and of 32 rows are other kernels: one of them may be wrong alone."""
    made = linear_ways.linear_way

    def broken(name, weight):
        way = made(name, weight)
        if name != "ours int4":
            return way
        return linear_ways.LinearWay(
            name, way.nbytes, lambda x: way.call(x) * (1 + (len(x) == 3)), way.weight, way.again
        )

    monkeypatch.setattr(linear_ways, "linear_way", broken)
    assert kernels_script.main([*TINY, "--part", "linear", "small", "--results", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert printed.count("wrong: 1") == 2
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text(encoding="utf-8"))
    wrong = [row for row in found["linear"] if row["failed"]]
    assert [row["way"] for row in wrong] == ["ours int4"] * 2
    assert all(row["seconds"].keys() == {"1"} and "over 0.02" in row["failed"]["3"] for row in wrong)
    assert len(found["small"]) == 2


def test_a_way_or_a_case_that_fails_is_a_cell(monkeypatch, tmp_path, capsys):
    def failing(case):
        raise TypeError("of another version")

    monkeypatch.setattr(lora_ways, "_looped", failing)
    made = lora_ways.builders
    monkeypatch.setattr(
        "gpu.lora_part.lora_ways.builders", lambda case: made(case) if case.rows == 1 else failing(case)
    )
    arguments = [*TINY, "--part", "lora", "--popularity", "identical", "--results", str(tmp_path)]
    assert kernels_script.main(arguments) == 1
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["finished"]
    ones = [row for row in found["lora"] if row.get("rows") == 1]
    assert all(row["seconds"]["ours"] > 0 and "of another version" in row["failed"]["torch loop"] for row in ones)
    whole = [row for row in found["lora"] if "case" in row]
    assert len(ones) == 2
    assert len(whole) == 6
    assert capsys.readouterr().out.count("failed: TypeError") == 8


def test_what_was_measured_before_the_end_is_in_the_file(monkeypatch, tmp_path):
    """As when a time limit ends it, or a fault in a kernel."""
    seen = []

    def measure(setting, rows):
        seen.append(rows)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return part.Row((rows, "1", "1", "1", "1", "1"), {"rows": rows, "failed": {}})

    small = kernels_script.PARTS["small"]
    monkeypatch.setitem(
        kernels_script.PARTS, "small", part.Part(small.title, small.columns, small.cases, small.label, measure)
    )
    with pytest.raises(KeyboardInterrupt):
        kernels_script.main([*TINY, "--part", "small", "--results", str(tmp_path)])
    (path,) = tmp_path.iterdir()
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found["finished"], [row["rows"] for row in found["small"]]) == (False, [1])


def test_a_lost_device_ends_the_run(monkeypatch):
    from gpu.outcome import DeviceLostError, attempt

    def fails(*arguments):
        raise RuntimeError("illegal memory access")

    assert isinstance(attempt(fails, CPU), Failure)
    monkeypatch.setattr(torch.cuda, "synchronize", fails)
    with pytest.raises(DeviceLostError, match="first failure"):
        attempt(fails, torch.device("cuda"))


def test_bytes_are_each_adapter_once_and_the_activations(case):
    ranks = {slot: (8, 24)[slot % 2] for slot in case.slots}
    weights = sum(rank * (48 + width) for rank in ranks.values() for width in (32, 16))
    assert case.nbytes == 4 * (weights + 6 * 48 + 2 * 6 * 48)
