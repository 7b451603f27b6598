"""What was measured, and on what."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from loraplex_server.engine.cores import usable_cores
from serving.process import ROOT

PACKAGES = ("loraplex", "torch", "transformers", "tokenizers", "peft", "uvicorn", "uvloop")
# At the beginning of a word, or behind its `=`: all of an absolute path but its last name.
_ELSEWHERE = re.compile(r"(^|(?<==))/(?:[^/]+/)*(?=[^/])")


def about() -> dict[str, Any]:
    """The machine, the versions and the commit, for a results file."""
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu_model(),
            "cores": usable_cores(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
            "system": f"{platform.system()} {platform.release()}",
        },
        "versions": {"python": platform.python_version(), **_versions()},
        "commit": commit(),
    }


def commit(root: Path = ROOT) -> str | None:
    """The tree's commit, with `-dirty` where a tracked file differs from it; None outside a checkout."""
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def portable(command: Sequence[str]) -> list[str]:
    """A command as it would be given from the project's root; of paths elsewhere, only the last name is kept.

    Where things lie on the machine that measured is nobody's business.
    """
    return [_ELSEWHERE.sub(r"\1", word.replace(f"{ROOT}/", "")) for word in command]


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def _versions() -> dict[str, str]:
    installed = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    return {package: installed.get(package, "not installed") for package in PACKAGES}
