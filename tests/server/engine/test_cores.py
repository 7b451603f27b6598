"""A container's share of CPU time bounds the threads, not its machine: from folders as the kernel shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from loraplex_server.engine.cores import cpu_share, usable_cores


@pytest.fixture
def of_process(tmp_path: Path) -> Path:
    path = tmp_path / "cgroup"
    path.write_text("0::/slice/scope\n")
    return path


def grant(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(text + "\n")


def grant_v1(folder: Path, quota: int, period: int = 100_000) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("granted", "cores"), [("max 100000", 8), ("400000 100000", 4), ("250000 100000", 2), ("50000 100000", 1)]
)
def test_a_share_bounds_the_cores_and_its_fraction_is_left_out(
    tmp_path: Path, of_process: Path, granted: str, cores: int
) -> None:
    grant(tmp_path / "slice" / "scope", granted)
    assert usable_cores(of_process, tmp_path) == cores


@pytest.mark.usefixtures("eight_cores")
def test_a_share_above_what_the_machine_has_gives_no_more(tmp_path: Path, of_process: Path) -> None:
    grant(tmp_path, "6400000 100000")
    assert usable_cores(of_process, tmp_path) == 8


def test_a_parents_share_counts_too(tmp_path: Path, of_process: Path) -> None:
    grant(tmp_path / "slice", "150000 100000")
    grant(tmp_path / "slice" / "scope", "700000 100000")
    assert cpu_share(of_process, tmp_path) == 1.5


def test_version_one_is_read_as_well(tmp_path: Path, of_process: Path) -> None:
    of_process.write_text("12:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n")
    grant_v1(tmp_path / "cpu" / "docker" / "abc", -1)
    assert cpu_share(of_process, tmp_path) is None
    grant_v1(tmp_path / "cpu" / "docker" / "abc", 300_000)
    assert cpu_share(of_process, tmp_path) == 3.0


def test_cpusets_and_accounting_are_no_shares(tmp_path: Path, of_process: Path) -> None:
    of_process.write_text("3:cpuset:/abc\n4:cpuacct:/abc\n")
    grant_v1(tmp_path / "cpuset" / "abc", 100_000)
    grant_v1(tmp_path / "cpuacct" / "abc", 100_000)
    assert cpu_share(of_process, tmp_path) is None


def test_on_this_machine_there_is_at_least_one_core() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))
