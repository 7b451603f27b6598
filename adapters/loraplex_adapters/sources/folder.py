"""Adapters in local folders: found under their names, and confined to where they may be."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from loraplex_adapters.errors import AdapterError, SourceNotAllowedError, SourceNotFoundError
from loraplex_adapters.fingerprint import CONFIG_FILE, FILES, fingerprint
from loraplex_adapters.registry.name import is_plain
from loraplex_adapters.source import AdapterSource
from loraplex_adapters.sources.allowed import is_inside

logger = logging.getLogger(__name__)


class FolderRoot:
    """A folder whose sub-folders are adapters. Nothing is cached but its own place; each call looks at the disk.

    Args:
        root: the folder, or None for no adapters at all.

    Raises:
        ValueError: the root is not a folder.
    """

    def __init__(self, root: Path | None) -> None:
        if root is not None and not root.is_dir():
            raise ValueError(f"adapters: {root} is not a folder")
        self.path = None if root is None else os.path.realpath(root)

    def names(self) -> list[str]:
        """Of all sub-folders that hold an adapter_config.json; none while the root cannot be read, as the log tells."""
        if self.path is None:
            return []
        try:
            names = os.listdir(self.path)
        except OSError as error:
            logger.warning("the folder of adapters cannot be read: %s", error)
            return []
        return [name for name in names if self.folder(name) is not None]

    def folder(self, name: str) -> str | None:
        """The sub-folder of that name; None where there is no adapter, or one whose files lie outside of the root."""
        if self.path is None or not is_plain(name):
            return None
        folder = os.path.join(self.path, name)
        if not os.path.isfile(os.path.join(folder, CONFIG_FILE)):
            return None
        return folder if _stays_inside(folder, self.path) else None


def permitted_folder(path: str, roots: Sequence[str]) -> str:
    """A folder that was registered by its path.

    Args:
        path: absolute.
        roots: real paths that it must stay in, with everything that its links lead to.

    Returns:
        Its real path.

    Raises:
        SourceNotAllowedError: it, or one of its files, is in none of the roots.
        SourceNotFoundError: there is no adapter.
    """
    real = os.path.realpath(path)
    inside = [root for root in roots if is_inside(real, root)]
    if not inside:
        raise SourceNotAllowedError(f"this server's settings do not let adapters come from '{path}'")
    if not os.path.isfile(os.path.join(real, CONFIG_FILE)):
        raise SourceNotFoundError(f"'{path}' is no folder with an {CONFIG_FILE}")
    if not any(_stays_inside(real, root) for root in inside):
        raise SourceNotAllowedError(f"'{path}' has a symbolic link that leads out of what the settings permit")
    return real


def adapter_source(name: str, folder: str) -> AdapterSource:
    """A folder as it is at this moment.

    Raises:
        AdapterError: its files cannot be looked at.
    """
    try:
        return AdapterSource(name=name, path=folder, fingerprint=fingerprint(folder))
    except OSError as error:  # a link to itself, a folder that may not be entered
        raise unreadable(name, error) from error


def written_at(folder: str) -> int | None:
    """Unix time at which the newer of an adapter's two files was written; None where neither can be looked at."""
    found = []
    for file in FILES:
        with contextlib.suppress(OSError):
            found.append(int(os.path.getmtime(os.path.join(folder, file))))
    return max(found, default=None)


def unreadable(name: str, error: OSError) -> AdapterError:
    """Without the path: the message goes to whoever sent the request."""
    return AdapterError(f"adapter '{name}' cannot be read: {error.strerror or type(error).__name__}")


def _stays_inside(folder: str, root: str) -> bool:
    """Whether the folder and its files stay in the root where they are links."""
    paths = (folder, *(os.path.join(folder, file) for file in FILES))
    return all(not os.path.islink(path) or is_inside(os.path.realpath(path), root) for path in paths)
