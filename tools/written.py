"""Files that are made from others: written, or only looked at."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def written(files: Mapping[Path, str], tool: str, check: bool) -> int:
    """Write the texts that are not there yet, or say of each that it is stale.

    Args:
        tool: path of the script that makes them, such as its `__file__`.
        check: write nothing.

    Returns:
        The exit status: 0, or 1 where one was checked and is stale.
    """
    stale = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is stale: run `python tools/{Path(tool).name}`", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
    return int(check and bool(stale))
