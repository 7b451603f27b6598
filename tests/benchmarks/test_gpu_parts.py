"""What the GPU benchmarks share: results that are kept as they come, typical draws, room for adapters, the script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import BENCHMARKS
from gpu import about, room
from gpu.popularity import expected_distinct, renumbered, slots_of
from gpu.results import Results
from gpu.room import Room, Wanted, fitted, room_for
from gpu.tables import Column, Table

CPU = torch.device("cpu")


def test_results_are_whole_after_each_case(tmp_path):
    results = Results("kernels", CPU, tmp_path / "made")
    results.put("copy_gb_s", 3.0)
    for number in range(3):
        results.add("lora", {"rows": number})
        found = json.loads(results.path.read_text(encoding="utf-8"))
        assert len(found["lora"]) == number + 1
        assert not found["finished"]
    results.finish()
    assert json.loads(results.path.read_text(encoding="utf-8"))["finished"]
    assert [path.suffix for path in results.path.parent.iterdir()] == [".json"]


def test_a_result_says_what_it_was_measured_on():
    found = about.about(CPU)
    assert found["versions"]["torch"] == torch.__version__
    assert "CPU kernels" in found["native"]


def test_of_two_copies_the_first_on_the_path_is_told(monkeypatch, tmp_path):
    for folder, version in (("first", "2.0"), ("second", "1.0")):
        where = tmp_path / folder / f"numpy-{version}.dist-info"
        where.mkdir(parents=True)
        (where / "METADATA").write_text(f"Metadata-Version: 2.1\nName: numpy\nVersion: {version}\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second")])
    assert about.about(CPU)["versions"]["numpy"] == "2.0"


def test_a_tree_without_its_history_is_told_its_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(about, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv(about.COMMIT, raising=False)
    assert about.about(CPU)["commit"] is None
    monkeypatch.setenv(about.COMMIT, "abc123")
    assert about.about(CPU)["commit"] == "abc123"


@pytest.mark.parametrize(
    ("name", "ignored"),
    [
        ("kernels-nvidia-h100-80gb-hbm3-20260101T000000.json", False),
        ("engine-nvidia-h100-80gb-hbm3-20260101T000000.json", False),
        ("engine-cpu--x86-64-20260101T000000.json", True),
        ("kernels-nvidia-h100-80gb-hbm3-20260101T000000.part", True),
    ],
)
def test_results_of_a_gpu_can_be_committed(name, ignored):
    path = BENCHMARKS / "results" / name
    done = subprocess.run(["git", "-C", BENCHMARKS, "check-ignore", "-q", path])
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert (done.returncode == 0) is ignored


@pytest.mark.parametrize(("rows", "distinct"), [(1, 1), (8, 7), (32, 20), (64, 31)])
def test_a_zipf_draw_has_as_many_adapters_as_are_expected(rows, distinct):
    slots = slots_of("zipf", rows, 100)
    assert len(slots) == rows
    assert len(set(slots)) == distinct
    assert abs(distinct - expected_distinct(rows, 100)) <= 0.5
    assert slots == slots_of("zipf", rows, 100)


def test_the_expected_number_is_the_mean_of_many_draws():
    from loraplex_kernels.lora.workload import pick_slots

    counts = [len(set(pick_slots("zipf", 32, 100, seed))) for seed in range(400)]
    assert sum(counts) / len(counts) == pytest.approx(expected_distinct(32, 100), abs=0.5)


def test_adapters_that_are_drawn_are_counted_from_the_first():
    assert renumbered([7, 3, 7, 90]) == [0, 1, 0, 2]


def test_rows_are_printed_as_they_come(capsys):
    table = Table([Column("a", 4), Column("long name")])
    assert capsys.readouterr().out == "| a    | long name |\n|------|-----------|\n"
    table.row([1, "x"])
    assert capsys.readouterr().out == "| 1    | x         |\n"
    table.row(["too long", ""])
    assert capsys.readouterr().out == "| too long |           |\n"


def test_the_first_folder_with_room_is_taken(monkeypatch, tmp_path):
    folders = [tmp_path / name for name in ("memory", "disk", "other", "missing")]
    for folder in folders[:3]:
        folder.mkdir()
    free = {"memory": room.SPARE + 10, "disk": room.SPARE + 200, "other": room.SPARE + 100}
    monkeypatch.setattr(room.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[folder.name]))
    assert room_for(10, folders) == Room(folders[0], 10)
    assert room_for(11, folders).folder == folders[1]
    assert room_for(1000, folders) == Room(folders[1], 200)


def test_what_does_not_fit_is_left_out_the_mixed_ranks_first():
    wanted = Wanted((1, 8, 32, 64), ("none", "distinct", "mixed"), 6, plain_bytes=10, mixed_bytes=20)
    assert wanted.nbytes == 64 * 30
    assert fitted(wanted, 64 * 30) == wanted
    without = fitted(wanted, 64 * 30 - 1)
    assert (without.batches, without.modes) == ((1, 8, 32, 64), ("none", "distinct"))
    assert fitted(wanted, 500).batches == (1, 8, 32)
    assert fitted(wanted, 60).batches == (1,)
    with pytest.raises(OSError, match="80 MiB are needed at least"):
        fitted(Wanted((8,), ("none",), 6, 10 << 20, 20 << 20), 59 << 20)


def on_gpu(folder, *steps, **environment):
    command = ["sh", BENCHMARKS / "on_gpu.sh", folder, *steps]
    settings = {"PYTHON": sys.executable, "ARGUMENTS": "--device cpu --shape tiny --repeats 1", **environment}
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **settings})


@pytest.mark.slow
def test_the_script_goes_on_after_a_failure_and_sums_up(tmp_path):
    (tmp_path / "python").write_text(
        f'#!/bin/sh\ncase "$*" in *sampling*) exit 3 ;; esac\nexec {sys.executable} "$@"\n', encoding="utf-8"
    )
    (tmp_path / "python").chmod(0o755)
    done = on_gpu(tmp_path / "out", "sampling", "small", PYTHON=str(tmp_path / "python"))
    assert done.returncode == 1
    failed, fine = (tmp_path / "out" / "summary.txt").read_text(encoding="utf-8").splitlines()
    assert failed.startswith("sampling: something failed, status 3")
    assert fine.startswith("small: all of it")
    assert fine.endswith(".json")
    (result,) = (tmp_path / "out").glob("*.json")
    assert json.loads(result.read_text(encoding="utf-8"))["finished"]
    assert "Small ops" in (tmp_path / "out" / "small.txt").read_text(encoding="utf-8")


def test_the_script_begins_nothing_when_the_time_is_over(tmp_path):
    done = on_gpu(tmp_path, "small", SECONDS_IN_ALL="5")
    assert done.returncode == 1
    assert (tmp_path / "summary.txt").read_text(encoding="utf-8") == "small: not begun, the time is over\n"


def test_the_script_knows_its_steps(tmp_path):
    assert on_gpu(tmp_path, "smal").returncode == 2
    assert not list(tmp_path.iterdir())
    usage = subprocess.run(["sh", BENCHMARKS / "on_gpu.sh"], capture_output=True, text=True)
    assert usage.returncode == 2
    assert "FOLDER [STEP ...]" in usage.stdout


def test_a_time_limit_removes_the_temporary_folders(tmp_path):
    code = f"import sys, tempfile, time; sys.path.insert(0, {str(BENCHMARKS)!r})\n"
    code += "from gpu.results import end_on_term\nend_on_term()\n"
    code += (
        f"with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}):\n    print('ready', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(60) == 143
    assert not list(tmp_path.iterdir())
