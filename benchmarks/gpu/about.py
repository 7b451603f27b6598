"""On what a result was measured: the card, the versions and the commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from loraplex_kernels import native

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "triton", "transformers", "peft", "bitsandbytes", "numpy", "msgspec", "safetensors")
COMMIT = "LORAPLEX_COMMIT"  # of the environment: names the commit where the tree came without its history
DRIVER = "driver_version,power.limit,clocks.max.sm,clocks.max.memory"


def about(device: torch.device) -> dict[str, Any]:
    """For a result's file."""
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "card": card(device),
        "driver": _driver() if device.type == "cuda" else None,
        "versions": {
            "python": platform.python_version(),
            "cuda": torch.version.cuda,
            **{name: _version(name) for name in PACKAGES},
        },
        "commit": _commit(),
        "native": native.status(),  # the loads of adapters go through it
        "threads": torch.get_num_threads(),
    }


def card(device: torch.device) -> str:
    """The device, for people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"


def _version(package: str) -> str:
    """Of two copies on the path, that of the one which is imported."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _driver() -> str | None:
    return _said(["nvidia-smi", f"--query-gpu={DRIVER}", "--format=csv"])


def _commit() -> str | None:
    """Of the tree as it is, or of the environment."""
    found = _said(["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"])
    return found or os.environ.get(COMMIT) or None


def _said(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
