"""What a process has in memory, as Linux counts it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

# proc(5): forgets the most that a process ever had resident, so that the next reading is of what came after.
FORGET_PEAK = "5"


@dataclass(frozen=True)
class Resident:
    """Bytes of one process at one moment.

    Attributes:
        name: of the process.
        now: resident.
        peak: the most that was resident since the peak was last forgotten.
        anonymous: of those now, what is nobody else's: files that are mapped and shared memory are left out.
        files: of those now, pages of mapped files, which the kernel takes back when it needs them.
    """

    name: str
    now: int
    peak: int
    anonymous: int
    files: int


def resident(pid: int) -> Resident | None:
    """None where the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if "VmHWM" not in fields:  # it is just ending
        return None
    now, peak, anonymous, files = (
        int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM", "RssAnon", "RssFile")
    )
    return Resident(fields["Name"].strip(), now, peak, anonymous, files)


def shared_out(pid: int) -> int:
    """Bytes resident, each page that several processes map divided among them (PSS); 0 where the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def together(pids: Iterable[int]) -> int:
    """Bytes that processes have resident, pages of a file that several of them map counted once.

    Unlike `shared_out` it does not hang on who else on the machine maps the same libraries.
    """
    anonymous, files = 0, dict[str, int]()
    for pid in pids:
        own = _files_of(pid)
        anonymous += own.pop("", 0)
        for path, size in own.items():
            files[path] = max(files.get(path, 0), size)
    return anonymous + sum(files.values())


def _files_of(pid: int) -> dict[str, int]:
    """Bytes resident of each mapped file, those that were written to counted with what is no file's, under ""."""
    found, path = {"": 0}, ""
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        first, *rest = line.split(None, 5)
        if not first.endswith(":"):
            path = rest[4] if len(rest) == 5 and rest[4].startswith("/") else ""
        elif first == "Rss:":
            found[path] = found.get(path, 0) + int(rest[0]) * 1024
        elif first == "Anonymous:" and path:
            found[path] -= int(rest[0]) * 1024
            found[""] += int(rest[0]) * 1024
    return found


def forget_peaks(pids: Iterable[int]) -> None:
    """Have each process's peak begin anew."""
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            Path(f"/proc/{pid}/clear_refs").write_text(FORGET_PEAK, encoding="utf-8")


def children(pid: int) -> list[int]:
    """All processes that this one started, and those that they did, parents first."""
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]
