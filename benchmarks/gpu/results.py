"""What was measured, kept with the card, the versions and the commit."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("torch", "triton", "transformers", "peft", "bitsandbytes", "numpy")


def about(device: torch.device) -> dict[str, Any]:
    """The card, the versions and the commit."""
    return {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "card": card(device),
        "versions": {"python": platform.python_version(), "cuda": torch.version.cuda, **_versions()},
        "commit": _commit(),
    }


def card(device: torch.device) -> str:
    """The device, for people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"


def save(name: str, device: torch.device, result: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Write `folder/name-<card>-<time>.json`."""
    described = about(device)
    stamp = described["when"].replace("-", "").replace(":", "").replace("+0000", "")
    short = "".join(each if each.isalnum() else "-" for each in described["card"].lower()).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{short}-{stamp}.json"
    path.write_text(json.dumps({"about": described, **result}, indent=1) + "\n", encoding="utf-8")
    return path


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table that is readable as text and as Markdown."""
    cells = [list(columns), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(columns))]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in cells]
    return "\n".join([lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]])


def _versions() -> dict[str, str]:
    installed = {each.metadata["Name"].lower(): each.version for each in importlib.metadata.distributions()}
    return {package: installed.get(package, "not installed") for package in PACKAGES}


def _commit() -> str | None:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
