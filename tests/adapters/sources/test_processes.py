"""Real processes that share one cache, and one that is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.adapter_files import adapter_files
from support.cache_worker import PLACES

from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.sources import DiskCache

ROOT = Path(__file__).parents[3]
LIMIT_S = 600  # only what hangs takes so long
SIZE = sum(len(content) for content in adapter_files(0).values())


def worker(root: Path, how: str, budget: int, rounds: int, seed: int) -> subprocess.Popen[str]:
    path = os.pathsep.join(str(ROOT / part) for part in ("tests", "adapters", "kernels"))
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "support.cache_worker",
        *map(str, (root, how, budget, rounds, seed)),
    ]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, text=True, stdout=subprocess.PIPE)


@pytest.mark.parametrize("room", [PLACES, 5])
def test_two_processes_hammer_one_cache(tmp_path: Path, room: int) -> None:
    """With room for all, each adapter is fetched once by either; with less, all that is read is whole and right."""
    workers = [worker(tmp_path, "hammer", room * SIZE + 100, 60, seed) for seed in range(2)]
    assert [each.wait(LIMIT_S) for each in workers] == [0, 0]
    for each in workers:
        each.communicate()
    fetched = Counter((tmp_path / "log").read_text().split())
    assert len(fetched) == PLACES
    assert room < PLACES or set(fetched.values()) == {1}
    assert not list((tmp_path / "cache" / "staging").iterdir())
    entries = list((tmp_path / "cache" / "entries").iterdir())
    assert sum((entry / TENSOR_FILE).stat().st_size for entry in entries) <= room * SIZE


def test_a_process_killed_in_mid_download_leaves_nothing_and_blocks_nobody(tmp_path: Path) -> None:
    victim = worker(tmp_path, "stuck", 2 * SIZE, 1, 0)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "stuck\n"
    assert list((tmp_path / "cache" / "staging").iterdir())
    victim.kill()
    victim.communicate()
    survivor = worker(tmp_path, "hammer", 2 * SIZE + 100, 10, 0)
    assert survivor.wait(LIMIT_S) == 0
    survivor.communicate()
    assert not list((tmp_path / "cache" / "staging").iterdir())
    DiskCache(tmp_path / "cache", 2 * SIZE).stage(2 * SIZE).discard()


def test_a_holder_that_is_killed_holds_nothing_any_more(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from loraplex_adapters.sources import DiskCache\n"
        "cache = DiskCache(Path(sys.argv[1]), 1); held = cache.hold(sys.argv[2]); print(held is not None, flush=True)\n"
        f"time.sleep({LIMIT_S})"
    )
    filler = worker(tmp_path, "hammer", SIZE + 100, 1, 0)
    assert filler.wait(LIMIT_S) == 0
    filler.communicate()
    (entry,) = (tmp_path / "cache" / "entries").iterdir()
    path = os.pathsep.join(str(ROOT / part) for part in ("adapters", "kernels"))
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "cache"), entry.name],
        env=os.environ | {"PYTHONPATH": path},
        text=True,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    cache = DiskCache(tmp_path / "cache", SIZE + 100)
    with pytest.raises(Exception, match="no room"):
        cache.stage(SIZE)
    holder.kill()
    holder.communicate()
    cache.stage(SIZE).discard()
