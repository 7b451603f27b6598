"""Keys in a YAML file that somebody keeps under version control: digests, never secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from loraplex_server.tenants.errors import KeyStoreError
from loraplex_server.tenants.grant import Grant
from loraplex_server.tenants.key import Key

SUFFIXES = (".yaml", ".yml")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


class _Entry(Grant):
    """One item of the list under `keys`."""

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    hash: str = Field(pattern=f"^{_HASH.pattern}$")
    revoked: bool = False


class KeyFile:
    """Args: path: of the file, which is only read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def close(self) -> None:
        """Nothing stays open."""

    @property
    def version(self) -> object:
        """Differs from what it was once the file was written or replaced. Raises KeyStoreError where there is none."""
        try:
            seen = os.stat(self._path)
        except OSError as error:
            raise KeyStoreError(f"the keys in {self._path} cannot be read: {error.strerror or error}") from error
        return seen.st_mtime_ns, seen.st_size, seen.st_ino

    def keys(self) -> list[Key]:
        """All of them, in the file's order.

        Raises:
            KeyStoreError: it cannot be read, or any of them is not right; then none counts.
        """
        try:
            content = yaml.safe_load(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise KeyStoreError(f"the keys in {self._path} cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict) or set(content) != {"keys"} or not isinstance(content["keys"], list):
            raise KeyStoreError(f"{self._path} must hold a list under `keys`, and nothing else")
        found = [self._key(number, entry) for number, entry in enumerate(content["keys"], 1)]
        for what in ("id", "digest"):
            if len({getattr(key, what) for key in found}) < len(found):
                raise KeyStoreError(f"two keys in {self._path} have the same {'hash' if what == 'digest' else what}")
        return found

    def _key(self, number: int, entry: object) -> Key:
        try:
            read = _Entry.model_validate(entry)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "it"
            raise KeyStoreError(f"key {number} in {self._path}: {where}: {fault['msg']}") from error
        grant = Grant(**{name: getattr(read, name) for name in Grant.model_fields})
        digest = bytes.fromhex(read.hash.removeprefix("sha256:"))
        return Key(read.id, digest, grant, revoked=0 if read.revoked else None)


def entry_of(key: Key) -> Mapping[str, Any]:
    """A key as an item of such a file; what is as by default is left out."""
    grant = key.grant.model_dump(exclude_defaults=True)
    return {"id": key.id, "hash": f"sha256:{key.digest.hex()}", **grant}
