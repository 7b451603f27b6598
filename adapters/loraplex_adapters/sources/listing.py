"""What a remote place says it has, before anything is fetched."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from loraplex_adapters.sources.address import Address


@dataclass(frozen=True)
class RemoteFile:
    """One file, as it was announced.

    Args:
        name: without a path.
        size: bytes.
        tag: changes with the content: an ETag or the like; empty where the place gives none.
        digest: what the content must hash to, where the place says it.
        algorithm: of the digest; `git` is SHA-1 as git takes it of a blob.
    """

    name: str
    size: int
    tag: str = ""
    digest: str | None = None
    algorithm: Literal["sha256", "git"] = "sha256"


@dataclass(frozen=True)
class Listing:
    """All wanted files of one place at one moment.

    Args:
        revision: equal for equal content; empty where the place cannot say.
        files: that are to be fetched.
    """

    revision: str
    files: tuple[RemoteFile, ...]

    @property
    def nbytes(self) -> int:
        """Of all files."""
        return sum(file.size for file in self.files)


class Remote(Protocol):
    """One kind of place. Every method raises SourceError alone, with nothing internal in its message."""

    async def list(self, address: Address) -> Listing:
        """The wanted files that are there, required or not.

        Raises:
            SourceNotFoundError: the place has nothing for us.
            SourceUnavailableError: it does not answer as it should.
        """
        ...

    def read(self, address: Address, listing: Listing, file: RemoteFile) -> AsyncGenerator[bytes, None]:
        """The bytes of one of them, as long as the place sends any.

        Raises:
            SourceUnavailableError: it stopped, or answers otherwise than when it was listed.
        """
        ...

    async def close(self) -> None:
        """End the connections."""
        ...


def revision_of(files: Iterable[RemoteFile]) -> str:
    """A name for a content that has only tags; empty where a file has none, and so may have changed unseen."""
    files = sorted(files, key=lambda file: file.name)
    if not all(file.tag for file in files):
        return ""
    return hashlib.sha256(repr([(file.name, file.size, file.tag) for file in files]).encode()).hexdigest()
