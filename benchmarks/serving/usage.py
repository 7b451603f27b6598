"""Whose the processor was during a run, and how much memory the server ever had."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass
class Usage:
    """Cores kept busy on average during a run.

    Attributes:
        server: by the server's processes.
        client: by this one.
        others: by everything else on the machine: above a tenth or so, the run says less about the server.
    """

    server: float = 0.0
    client: float = 0.0
    others: float = 0.0


@contextlib.contextmanager
def watched(pid: int) -> Iterator[Usage]:
    """The usage while the block runs, filled in as it ends; `pid` is the server's first process."""
    usage = Usage()
    start, before = time.monotonic(), _seconds(pid)
    yield usage
    elapsed = time.monotonic() - start
    server, client, machine = (after - first for after, first in zip(_seconds(pid), before, strict=True))
    usage.server, usage.client = round(server / elapsed, 3), round(client / elapsed, 3)
    usage.others = round(max(0.0, machine - server - client) / elapsed, 3)


def peak_rss_mb(pid: int) -> dict[str, float]:
    """The most memory that each process of the server ever had resident, by name and id, in 1e6 bytes."""
    peaks = {}
    for process in _tree(pid):
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
        fields = dict(line.split(":", 1) for line in status)
        if "VmHWM" in fields:  # a process that has just ended has none
            peaks[f"{fields['Name'].strip()} {process.pid}"] = int(fields["VmHWM"].split()[0]) * 1024 / 1e6
    return {name: round(peak, 1) for name, peak in peaks.items()}


def _seconds(pid: int) -> tuple[float, float, float]:
    """Processor seconds so far of the server's processes, of this one and of the whole machine."""
    server = sum(_own(process) for process in _tree(pid))
    times = psutil.cpu_times()
    machine = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
    return server, _own(psutil.Process(os.getpid())), machine


def _tree(pid: int) -> list[psutil.Process]:
    first = psutil.Process(pid)
    return [first, *first.children(recursive=True)]


def _own(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
