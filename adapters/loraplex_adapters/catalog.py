"""The adapters of a folder, by name. Looked up on every request, so that a new one needs no restart."""

from __future__ import annotations

import os
from pathlib import Path

from loraplex_adapters.errors import UnknownAdapterError
from loraplex_adapters.fingerprint import CONFIG_FILE, FILES, fingerprint
from loraplex_adapters.peft_config import LONGEST, LoraConfig, parse_config
from loraplex_adapters.source import AdapterSource

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
        """Of all adapters, sorted."""
        if self._root is None:
            return []
        with os.scandir(self._root) as entries:
            names = [entry.name for entry in entries]
        return sorted(name for name in names if self._folder(name) is not None)

    def resolve(self, name: str) -> AdapterSource:
        """Where the adapter of that name is, as it is at this moment.

        Raises:
            UnknownAdapterError: there is none.
        """
        folder = self._require(name)
        return AdapterSource(name=name, path=folder, fingerprint=fingerprint(folder))

    def created(self, name: str) -> int:
        """Unix time, in seconds, at which the newer of its two files was last written.

        Raises:
            UnknownAdapterError: there is none of that name.
        """
        folder = self._require(name)
        paths = (os.path.join(folder, file) for file in FILES)
        return max((int(os.path.getmtime(path)) for path in paths if os.path.exists(path)), default=0)

    def config(self, name: str) -> LoraConfig:
        """What its config says, for a listing.

        Raises:
            UnknownAdapterError: there is none of that name.
            AdapterRefusedError: it cannot be served.
        """
        with open(os.path.join(self._require(name), CONFIG_FILE), "rb") as file:
            return parse_config(name, file.read(LONGEST + 1))

    def _require(self, name: str) -> str:
        folder = self._folder(name)
        if folder is None:
            raise UnknownAdapterError(f"there is no adapter '{name}'")
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
