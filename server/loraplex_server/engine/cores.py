"""How many CPU cores this process may use: those that it may run on, and no more than its container's share of time."""

from __future__ import annotations

import os
from pathlib import Path

from loraplex_server.engine.cgroup import OF_PROCESS, ROOT, Group, groups


def usable_cores(of_process: Path = OF_PROCESS, root: Path = ROOT) -> int:
    """Cores for threads that all compute; at least 1.

    A share of 2.5 is 2: with 3, all would stand still together for a part of each period, once its time is spent. The
    arguments are those of `cgroup.groups`.
    """
    share = cpu_share(of_process, root)
    return _of_machine() if share is None else max(1, min(_of_machine(), int(share)))


def cpu_share(of_process: Path = OF_PROCESS, root: Path = ROOT) -> float | None:
    """Seconds of CPU time a second that this process's control groups grant; None where they set no limit.

    Sources: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (version 1).
    """
    found = (_granted(group) for group in groups("cpu", of_process, root))
    return min((share for share in found if share is not None), default=None)


def _of_machine() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _granted(group: Group) -> float | None:
    try:
        if group.version == 2:
            quota, period = (group.folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (group.folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (group.folder / "cpu.cfs_period_us").read_text(encoding="ascii")
    except OSError:  # the topmost group of a machine has no limit, nor a file that says so
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)
