"""The control groups that this process is in, and the memory that they leave it: a container's, not the machine's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OF_PROCESS = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Group:
    """Args: folder: of its files. version: 1 or 2, whose files have different names."""

    folder: Path
    version: int


@dataclass(frozen=True)
class _Files:
    """Names of one version's files, and the words in `memory.stat` for file contents: not in use, in use, mapped."""

    limit: str
    usage: str
    inactive: str
    active: str
    mapped: str


_MEMORY = {
    1: _Files(
        *("memory.limit_in_bytes", "memory.usage_in_bytes"),
        *("total_inactive_file", "total_active_file", "total_mapped_file"),
    ),
    2: _Files("memory.max", "memory.current", "inactive_file", "active_file", "file_mapped"),
}


def groups(controller: str, of_process: Path = OF_PROCESS, root: Path = ROOT) -> Iterator[Group]:
    """The groups that may limit this process, and their parents, which limit it as well; none where it is not Linux.

    Args:
        controller: `memory` or `cpu`.
        of_process: says which groups it is in, a line for each hierarchy: `id:controllers:path`.
        root: where the groups are mounted.
    """
    try:
        lines = of_process.read_text(encoding="ascii").splitlines()
    except OSError:
        return
    for line in lines:
        yield from _of_hierarchy(line, controller, root)


def memory_left(of_process: Path = OF_PROCESS, root: Path = ROOT) -> int | None:
    """Bytes that this process's control groups leave it; None where no group has a limit, or there are no groups.

    Version 1 says "none" with a number that no machine has, which `min` with what is free takes care of.
    The arguments are those of `groups`.
    Sources: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
    """
    found = (_left(group) for group in groups("memory", of_process, root))
    return min((left for left in found if left is not None), default=None)


def _of_hierarchy(line: str, controller: str, root: Path) -> Iterator[Group]:
    """The group of one hierarchy, if it has the controller, and its parents, as far as they can be seen from here."""
    _, controllers, path = line.split(":", 2)
    if not controllers:
        top, version = root, 2
    elif controller in controllers.split(","):
        top, version = root / controller, 1
    else:
        return
    # Seen from inside of a container the path may be the host's, and what is mounted is the container's own group.
    parts = [part for part in path.split("/") if part and part != ".."]
    for depth in range(len(parts), -1, -1):
        yield Group(top.joinpath(*parts[:depth]), version)


def _left(group: Group) -> int | None:
    files = _MEMORY[group.version]
    try:
        limit = (group.folder / files.limit).read_text(encoding="ascii").strip()
        usage = int((group.folder / files.usage).read_text(encoding="ascii"))
        stat = (group.folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:  # the topmost group of a machine has no limit, nor a file that says so
        return None
    if limit == "max":
        return None
    counts = dict(line.split(maxsplit=1) for line in stat)
    inactive, active, mapped = (int(counts.get(name, 0)) for name in (files.inactive, files.active, files.mapped))
    # The kernel gives up contents of files that nobody maps. Reading a checkpoint twice makes its pages "active".
    return max(int(limit) - usage + inactive + max(active - mapped, 0), 0)
