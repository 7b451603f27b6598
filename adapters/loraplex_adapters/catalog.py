"""The adapters of a folder, by name. Looked up on every request, so that a new one needs no restart."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from loraplex_adapters.errors import AdapterError, UnknownAdapterError
from loraplex_adapters.fingerprint import CONFIG_FILE, FILES, fingerprint
from loraplex_adapters.peft_config import LONGEST, LoraConfig, parse_config
from loraplex_adapters.source import AdapterSource

logger = logging.getLogger(__name__)

LONGEST_NAME = 255  # bytes, of one component of a path


class Catalog:
    """Every sub-folder of the root that holds an adapter_config.json is an adapter under the folder's name.

    A request names an adapter, never a path: whatever is not one plain folder name, or leads out of the root through
    a symbolic link, is unknown. Nothing is cached but the root's own place; each call looks at the disk.

    Args:
        root: the folder, or None for no adapters at all.

    Raises:
        ValueError: the root is not a folder.
    """

    def __init__(self, root: Path | None) -> None:
        if root is not None and not root.is_dir():
            raise ValueError(f"adapters: {root} is not a folder")
        self._root = None if root is None else os.path.realpath(root)

    def names(self) -> list[str]:
        """Of all adapters, sorted; none while the root cannot be read, which the log tells."""
        if self._root is None:
            return []
        try:
            names = os.listdir(self._root)
        except OSError as error:
            logger.warning("the folder of adapters cannot be read: %s", error)
            return []
        return sorted(name for name in names if self._folder(name) is not None)

    def resolve(self, name: str) -> AdapterSource:
        """Where the adapter of that name is, as it is at this moment.

        Raises:
            UnknownAdapterError: there is none.
            AdapterError: its files cannot be looked at.
        """
        folder = self._require(name)
        try:
            return AdapterSource(name=name, path=folder, fingerprint=fingerprint(folder))
        except OSError as error:  # a link to itself, a folder that may not be entered
            raise _unreadable(name, error) from error

    def created(self, name: str) -> int:
        """Unix time, in seconds, at which the newer of its two files was last written.

        Raises:
            UnknownAdapterError: there is none of that name.
        """
        folder = self._require(name)
        found = [_written(os.path.join(folder, file)) for file in FILES]
        times = [time for time in found if time is not None]
        if not times:
            raise _unknown(name)  # deleted this moment
        return max(times)

    def config(self, name: str) -> LoraConfig:
        """What its config says, for a listing.

        Raises:
            UnknownAdapterError: there is none of that name.
            AdapterRefusedError: it cannot be served.
            AdapterError: the file cannot be read.
        """
        try:
            with open(os.path.join(self._require(name), CONFIG_FILE), "rb") as file:
                text = file.read(LONGEST + 1)
        except FileNotFoundError:
            raise _unknown(name) from None
        except OSError as error:
            raise _unreadable(name, error) from error
        return parse_config(name, text)

    def _require(self, name: str) -> str:
        folder = self._folder(name)
        if folder is None:
            raise _unknown(name)
        return folder

    def _folder(self, name: str) -> str | None:
        if self._root is None or not _is_plain(name):
            return None
        folder = os.path.join(self._root, name)
        if not os.path.isfile(os.path.join(folder, CONFIG_FILE)):
            return None
        inside = all(self._holds(path) for path in (folder, *(os.path.join(folder, file) for file in FILES)))
        return folder if inside else None

    def _holds(self, path: str) -> bool:
        """Whether a path under the root stays there when its last component is a link."""
        if self._root is None or not os.path.islink(path):
            return self._root is not None
        return os.path.commonpath([self._root, os.path.realpath(path)]) == self._root


def _is_plain(name: str) -> bool:
    """One visible component of a path that can be written in a URL and a log."""
    if not name or name.startswith(".") or not name.isprintable() or "/" in name or os.sep in name:
        return False
    return len(os.fsencode(name)) <= LONGEST_NAME


def _written(path: str) -> int | None:
    """Unix time; None for a file that is not there or cannot be looked at."""
    try:
        return int(os.path.getmtime(path))
    except OSError:
        return None


def _unknown(name: str) -> UnknownAdapterError:
    return UnknownAdapterError(f"there is no adapter '{name}'")


def _unreadable(name: str, error: OSError) -> AdapterError:
    """Without the path: the message goes to whoever sent the request."""
    return AdapterError(f"adapter '{name}' cannot be read: {error.strerror or type(error).__name__}")
