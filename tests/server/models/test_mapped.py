"""Memory that maps a checkpoint is given back once its weights were taken, and no value is lost by it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.mapped import MappedFiles, trim_heap

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
ROWS = 512  # of 4096 bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    values = torch.arange(2 * ROWS * 1024, dtype=torch.float32).reshape(2, ROWS, 1024)
    save_file({"a.weight": values[0].clone(), "b.weight": values[1].clone()}, tmp_path / "model.safetensors")
    return tmp_path


def resident(file: Path) -> int:
    """Kilobytes of a mapped file in this process's memory."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = line.endswith(os.path.realpath(file))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


def test_what_was_taken_leaves_memory_and_can_be_read_again(folder: Path) -> None:
    file = folder / "model.safetensors"
    with Checkpoint(folder) as checkpoint:
        taken = checkpoint.stack(["a.weight", "b.weight"], torch.float32)
        view = checkpoint.tensor("b.weight")
        before = resident(file)
        checkpoint.release()
        after = resident(file)
        assert before >= 2 * ROWS * 4
        assert after < before / 10
        assert torch.equal(view, taken[ROWS:])
        checkpoint.release()  # of nothing: allowed


def test_memory_that_maps_no_file_keeps_its_values(folder: Path) -> None:
    files = MappedFiles([folder / "model.safetensors"])
    ours = torch.ones(1 << 20)
    files.discard(ours)
    assert ours.sum() == 1 << 20


def test_a_link_to_a_file_is_that_file(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link with spaces.safetensors"
    link.symlink_to(folder / "model.safetensors")
    with safe_open(link, framework="pt") as file:
        view = file.get_tensor("a.weight")
        total = view.sum()  # now it is in memory
        before = resident(link)
        MappedFiles([link]).discard(view)
        assert resident(link) < before / 2
        assert view.sum() == total


def test_the_heap_can_be_trimmed_at_any_time() -> None:
    kept = [torch.full((1 << 16,), float(number)) for number in range(16)]
    del kept[::2]
    trim_heap()
    assert [int(each[-1]) for each in kept] == list(range(1, 16, 2))
