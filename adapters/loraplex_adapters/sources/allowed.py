"""Which places adapters may come from: the settings say so, nobody else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from loraplex_adapters.errors import SourceNotAllowedError
from loraplex_adapters.sources.address import Address, Kind, parse_address


class AllowedSources:
    """A list of patterns; a source that none of them permits is refused.

    - `/folder` and `/folder/*`: what lies in the folder, links followed. It is found once, here.
    - `org/*`, `org/name`, `hf://org/prefix-*`, `hf://*`: repositories of the hub, at any revision unless one is given.
    - `s3://bucket/team`, `gs://bucket`, `https://host/x/`, each with `/*` or without: what lies below, part by part of
      the path, so that `team` does not permit `team2`.

    Args:
        patterns: none permits nothing.

    Raises:
        ValueError: a pattern means nothing.
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        self._patterns = tuple(_pattern(text) for text in patterns)

    def require(self, address: Address) -> None:
        """Let an address pass.

        Raises:
            SourceNotAllowedError: it is on no pattern.
        """
        if not any(_permits(pattern, address) for pattern in self._patterns):
            raise SourceNotAllowedError(f"this server's settings do not let adapters come from '{address.text}'")

    def kinds(self) -> frozenset[Kind]:
        """The kinds of places that are permitted at all."""
        return frozenset(pattern.kind for pattern in self._patterns)

    def folders(self) -> list[str]:
        """The real paths of all folders that are permitted."""
        return [pattern.path for pattern in self._patterns if pattern.kind == "folder"]


def _pattern(text: str) -> Address:
    if text.startswith(("/", "~", "./", "../")):
        folder = Path(text.removesuffix("/*") or "/").expanduser()
        return Address("folder", "", os.path.realpath(folder))
    if text == "hf://*":
        return Address("hf", "*/*", "")
    if text.startswith("hf://") or "://" not in text:
        repository, _, revision = text.removeprefix("hf://").partition("@")
        # The hub's names know no `*`: a letter stands for it while the rest is checked.
        _checked(text, repository.replace("*", "x") + (f"@{revision}" if revision else ""))
        return Address("hf", repository, "", revision or None)
    return _checked(text, text.removesuffix("/*"))


def _checked(text: str, spelled: str) -> Address:
    try:
        return parse_address(spelled)
    except SourceNotAllowedError as error:
        raise ValueError(f"'{text}' permits no source: {error}") from error


def _permits(pattern: Address, address: Address) -> bool:
    if pattern.kind != address.kind:
        return False
    if pattern.kind == "folder":
        return is_inside(os.path.realpath(address.path), pattern.path)
    if pattern.kind == "hf":
        if pattern.revision not in (None, address.revision):
            return False
        theirs, ours = address.place.split("/"), pattern.place.split("/")
        return all(fnmatchcase(name, wanted) for name, wanted in zip(theirs, ours, strict=True))
    if pattern.place != address.place:
        return False
    return not pattern.path or address.path == pattern.path or address.path.startswith(pattern.path + "/")


def is_inside(path: str, root: str) -> bool:
    """Whether a real path is a real root or lies in it."""
    return os.path.commonpath([path, root]) == root
