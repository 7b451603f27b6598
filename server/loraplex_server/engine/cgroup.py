"""The memory that a container may still take: its own limit, not the machine's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OF_PROCESS = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class _Files:
    """Names of one version's files, and the word in `memory.stat` for file contents that the kernel gives up first."""

    limit: str
    usage: str
    reclaimable: str


_V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Files("memory.max", "memory.current", "inactive_file")


def memory_left(of_process: Path = OF_PROCESS, root: Path = ROOT) -> int | None:
    """Bytes that this process's control groups leave it; None where no group has a limit, or there are no groups.

    A group's parents limit it as well. Version 1 says "none" with a number that no machine has, which `min` with what
    is free takes care of. Sources: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.

    Args:
        of_process: says which groups it is in, a line for each hierarchy: `id:controllers:path`.
        root: where the groups are mounted.
    """
    try:
        lines = of_process.read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return None
    left = [
        found for line in lines for folder, files in _groups(line, root) if (found := _left(folder, files)) is not None
    ]
    return min(left, default=None)


def _groups(line: str, root: Path) -> Iterator[tuple[Path, _Files]]:
    """The group of one hierarchy, if it limits memory, and its parents, as far as they can be seen from here."""
    _, controllers, path = line.split(":", 2)
    if not controllers:
        top, files = root, _V2
    elif "memory" in controllers.split(","):
        top, files = root / "memory", _V1
    else:
        return
    # Seen from inside of a container the path may be the host's, and what is mounted is the container's own group.
    parts = [part for part in path.split("/") if part and part != ".."]
    for depth in range(len(parts), -1, -1):
        yield top.joinpath(*parts[:depth]), files


def _left(folder: Path, files: _Files) -> int | None:
    try:
        limit = (folder / files.limit).read_text(encoding="ascii").strip()
        usage = int((folder / files.usage).read_text(encoding="ascii"))
        stat = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:  # the topmost group of a machine has no limit, nor a file that says so
        return None
    if limit == "max":
        return None
    counts = dict(line.split(maxsplit=1) for line in stat)
    return max(int(limit) - usage + int(counts.get(files.reclaimable, 0)), 0)
