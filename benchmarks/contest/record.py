"""The results file: written after each row, so that a run that was broken off can go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from contest.contender import Contender, ContestError

TOOL = "compare"


class Record:
    """The file's content, and the file.

    Args:
        path: of the file.
        settings: what all rows must have in common; another's file is refused.
        about: the machine, versions and commit of this run.
        fresh: begin anew, whatever the file holds.

    Raises:
        ContestError: the file holds something else, or rows of other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], about: Mapping[str, Any], fresh: bool = False) -> None:
        self._path = path
        self._commit = about["commit"]
        self.content: dict[str, Any] = {"tool": TOOL, "settings": dict(settings), "about": dict(about), "servers": {}}
        if fresh or not path.exists():
            return
        kept = read(path)
        if kept["settings"] != self.content["settings"]:
            raise ContestError(
                f"{path} holds rows of other settings, {kept['settings']} and not {dict(settings)}: "
                "--fresh begins it anew, --out names another file"
            )
        self.content["servers"] = kept["servers"]

    def finished(self, contender: Contender, row: str) -> bool:
        """Whether this row need not be measured: it is there, and the server is still the same."""
        found = self.content["servers"].get(contender.name, {}).get("rows", {}).get(row)
        if found is None:
            return False
        if contender.peer:
            return bool(found["versions"] == dict(contender.versions() or {}))
        return bool(found["commit"] == self._commit)

    def add(self, contender: Contender, row: str, result: Mapping[str, Any], rates: Mapping[str, Any]) -> None:
        """Keep one row."""
        server = self.content["servers"].setdefault(
            contender.name, {"label": contender.label, "peer": contender.peer, "rows": {}}
        )
        server["format"], server["head"] = contender.form.name, contender.head.name
        server["rows"][row] = {
            **result,
            "rates": dict(rates),
            "versions": dict(contender.versions() or {}),
            "commit": self._commit,
            "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(".part")
        beside.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        beside.replace(self._path)


def read(path: Path) -> dict[str, Any]:
    """What an earlier run left.

    Raises:
        ContestError: it is no results file of this command.
    """
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ContestError(f"{path} cannot be read: {error}") from error
    if not isinstance(kept, dict) or kept.get("tool") != TOOL:
        raise ContestError(f"{path} is no results file of this command")
    return kept
