"""What an adapter may be called."""

from __future__ import annotations

import os

from loraplex_adapters.errors import AdapterNameError

LONGEST_NAME = 255  # bytes, of one component of a path


def is_plain(name: str) -> bool:
    """One visible component of a path that can be written in a URL and a log."""
    if not name or name.startswith(".") or not name.isprintable() or "/" in name or os.sep in name:
        return False
    return len(os.fsencode(name)) <= LONGEST_NAME


def require_plain(name: str) -> None:
    """Let a new name pass.

    Raises:
        AdapterNameError: it could be taken for a path, or not be written in a URL or a log.
    """
    if not is_plain(name) or "\\" in name or name != name.strip():
        raise AdapterNameError(
            f"an adapter cannot be called {ascii(name)[:100]}: a name has at most {LONGEST_NAME} bytes, all of them "
            "printable, no slash, no space at its ends and no dot at its start"
        )
