"""Where the files go that can be made again."""

from __future__ import annotations

import os
from pathlib import Path

from loraplex_server.settings.errors import SettingsError


def user_cache(name: str) -> Path:
    """A folder of ours where the XDG base directories say that a user's caches are; it need not be there yet.

    Raises:
        SettingsError: the user has no home, as in a container that runs as a number that nobody gave a name.
    """
    told = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(told) if told else Path.home() / ".cache"
    except RuntimeError:
        raise SettingsError(["there is no home for caches: set HOME, or XDG_CACHE_HOME to a folder"]) from None
    return folder / "loraplex" / name
