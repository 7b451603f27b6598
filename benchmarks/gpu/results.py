"""What was measured, kept as it comes: a run that is cut off has lost nothing but its last case."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from gpu.about import ROOT, about

RESULTS = ROOT / "benchmarks" / "results"


class Results:
    """One file `folder/name-<card>-<time>.json`, written anew after each change.

    Args:
        name: of the benchmark.
        device: that it measures.
        folder: that the file lies in; made where it is missing.
    """

    def __init__(self, name: str, device: torch.device, folder: Path = RESULTS) -> None:
        described = about(device)
        stamp = described["when"].replace("-", "").replace(":", "").replace("+0000", "")
        short = "".join(each if each.isalnum() else "-" for each in described["card"].lower()).strip("-")
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}-{short}-{stamp}.json"
        self._content: dict[str, Any] = {"about": described, "finished": False}

    def put(self, key: str, value: Any) -> None:
        """Set one entry."""
        self._content[key] = value
        self._write()

    def add(self, key: str, value: Any) -> None:
        """Append to a list."""
        self._content.setdefault(key, []).append(value)
        self._write()

    def finish(self) -> None:
        """Nothing is missing; before this the file says that it is not finished."""
        self.put("finished", True)

    def _write(self) -> None:
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps(self._content, indent=1) + "\n", encoding="utf-8")
        os.replace(beside, self.path)


def end_on_term() -> None:
    """Have a time limit's SIGTERM end this process as an error does, so that its temporary folders are removed."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + signal.SIGTERM))
