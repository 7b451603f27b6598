"""A container's limit counts, not the machine it runs on: read from folders as the kernel shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from loraplex_server.engine.cgroup import memory_left


def group(folder: Path, limit: str, usage: int, inactive: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 1\nfile 99\ninactive_file {inactive}\n")


def group_v1(folder: Path, limit: int, usage: int, inactive: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"cache 5\ninactive_file 1\ntotal_inactive_file {inactive}\n")


@pytest.fixture
def of_process(tmp_path: Path) -> Path:
    path = tmp_path / "cgroup"
    path.write_text("0::/\n")
    return path


def test_what_is_left_is_the_limit_without_what_is_used(tmp_path: Path, of_process: Path) -> None:
    group(tmp_path, "1000", 300)
    assert memory_left(of_process, tmp_path) == 700


def test_file_contents_that_the_kernel_would_give_up_are_not_in_use(tmp_path: Path, of_process: Path) -> None:
    group(tmp_path, "1000", 900, inactive=500)
    assert memory_left(of_process, tmp_path) == 600


@pytest.mark.parametrize("version", [1, 2])
def test_nor_are_those_that_were_read_twice_unless_somebody_maps_them(
    tmp_path: Path, of_process: Path, version: int
) -> None:
    if version == 2:
        group(tmp_path, "1000", 900, inactive=100)
        stat = "inactive_file 100\nactive_file 500\nfile_mapped 200\n"
    else:
        of_process.write_text("3:memory:/\n")
        group_v1(tmp_path / "memory", 1000, 900, inactive=100)
        stat = "active_file 1\ntotal_inactive_file 100\ntotal_active_file 500\nmapped_file 9\ntotal_mapped_file 200\n"
    (tmp_path / ("memory" if version == 1 else "") / "memory.stat").write_text(stat)
    assert memory_left(of_process, tmp_path) == 1000 - 900 + 100 + 300


def test_a_group_that_is_over_its_limit_leaves_nothing(tmp_path: Path, of_process: Path) -> None:
    group(tmp_path, "1000", 1200)
    assert memory_left(of_process, tmp_path) == 0


def test_a_parents_limit_counts_too(tmp_path: Path, of_process: Path) -> None:
    of_process.write_text("0::/slice/scope\n")
    group(tmp_path / "slice", "1000", 900)
    group(tmp_path / "slice" / "scope", "5000", 10)
    assert memory_left(of_process, tmp_path) == 100


def test_without_a_limit_there_is_none(tmp_path: Path, of_process: Path) -> None:
    assert memory_left(of_process, tmp_path) is None
    group(tmp_path, "max", 300)
    assert memory_left(of_process, tmp_path) is None
    assert memory_left(tmp_path / "nothing", tmp_path) is None


def test_version_one_is_read_as_well(tmp_path: Path, of_process: Path) -> None:
    of_process.write_text("12:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n1:name=systemd:/docker/abc\n")
    group_v1(tmp_path / "memory" / "docker" / "abc", 2000, 1500, inactive=100)
    assert memory_left(of_process, tmp_path) == 600


def test_a_path_of_the_host_that_is_not_mounted_here_means_the_mounted_group(tmp_path: Path, of_process: Path) -> None:
    of_process.write_text("5:memory:/docker/abc\n0::/../../other\n")
    group_v1(tmp_path / "memory", 2000, 1500)
    assert memory_left(of_process, tmp_path) == 500


def test_on_this_machine_it_is_a_number_or_none() -> None:
    left = memory_left()
    assert left is None or left > 0
