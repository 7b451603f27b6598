"""One adapter's files from a remote place to a folder, each byte counted and hashed on its way."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from io import FileIO

from safetensors import SafetensorError, safe_open

from loraplex_adapters.errors import SourceDamagedError, SourceUnavailableError
from loraplex_adapters.fingerprint import CONFIG_FILE, TENSOR_FILE
from loraplex_adapters.sources.address import Address
from loraplex_adapters.sources.cache.files import telling_full
from loraplex_adapters.sources.cache.manifest import Manifest, ManifestFile
from loraplex_adapters.sources.listing import Listing, Remote, RemoteFile
from loraplex_adapters.sources.threads import on_thread

PIECE = 1 << 20
# A place that sends less than this is as good as down: it must not keep one of the few fetches for ever.
SLOWEST = 128 << 10  # bytes a second
PATIENCE_S = 60


async def download(remote: Remote, address: Address, listing: Listing, folder: str) -> Manifest:
    """Fetch all files of a listing, one after the other.

    Args:
        remote: that listed them.
        address: of the adapter.
        listing: what must come, to the byte.
        folder: empty, and nobody else's.

    Returns:
        What was written, and is on the disk for good.

    Raises:
        SourceUnavailableError: the place stopped, was too slow, or changed meanwhile.
        SourceDamagedError: more or less came than was announced, or something else, or it is no safetensors file.
        DiskFullError: the disk is full.
    """
    patience = PATIENCE_S + listing.nbytes / SLOWEST
    try:
        with telling_full(f"'{address.text}' cannot be fetched"):
            files = await asyncio.wait_for(_files(remote, address, listing, folder), patience)
            await on_thread(lambda: _require_sound(address, folder))
    except asyncio.TimeoutError as error:
        raise SourceUnavailableError(f"'{address.text}' sends too slowly: not done after {patience:.0f} s") from error
    return Manifest(tuple(sorted(files, key=lambda file: file.name)))


async def _files(remote: Remote, address: Address, listing: Listing, folder: str) -> list[ManifestFile]:
    written = []
    for file in listing.files:
        path = os.path.join(folder, file.name)
        with await on_thread(partial(_create, path), FileIO.close) as target:
            check = _Check(address, file)
            async with aclosing(_pieces(remote.read(address, listing, file))) as pieces:
                async for piece in pieces:
                    check.admit(len(piece))
                    await on_thread(partial(_write, target, piece, check))
            check.require_whole()
            await on_thread(partial(os.fsync, target.fileno()))
            stat = os.fstat(target.fileno())
        written.append(ManifestFile(file.name, file.size, check.sha256.hexdigest(), stat.st_mtime_ns))
    return written


async def _pieces(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same bytes in pieces that are worth a thread's while."""
    gathered = bytearray()
    async with aclosing(chunks):
        async for chunk in chunks:
            gathered += chunk
            if len(gathered) >= PIECE:
                yield bytes(gathered)
                gathered.clear()
    if gathered:
        yield bytes(gathered)


class _Check:
    """Counts and hashes what comes of one file."""

    def __init__(self, address: Address, file: RemoteFile) -> None:
        self._where, self._file = f"{file.name} at '{address.text}'", file
        self._count = 0
        self.sha256 = hashlib.sha256()
        self._git = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)

    def admit(self, count: int) -> None:
        """Cut off what is longer than it was announced, before it fills the disk."""
        self._count += count
        if self._count > self._file.size:
            raise SourceDamagedError(f"{self._where} is longer than the {self._file.size} bytes that were announced")

    def update(self, piece: bytes) -> None:
        """The next bytes."""
        self.sha256.update(piece)
        if self._file.algorithm == "git":
            self._git.update(piece)

    def require_whole(self) -> None:
        """All that was announced is here, and is what it should be."""
        if self._count < self._file.size:
            raise SourceDamagedError(f"{self._where} ended after {self._count} of {self._file.size} bytes")
        found = self.sha256 if self._file.algorithm == "sha256" else self._git
        if self._file.digest is not None and found.hexdigest() != self._file.digest:
            raise SourceDamagedError(f"{self._where} is damaged: its hash is not the one that was announced")


def _create(path: str) -> FileIO:
    return open(path, "xb", buffering=0)


def _write(target: FileIO, piece: bytes, check: _Check) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[target.write(rest) :]
    check.update(piece)


def _require_sound(address: Address, folder: str) -> None:
    """What every adapter's files are; whether this model can serve them is asked when they are read."""
    try:
        with safe_open(os.path.join(folder, TENSOR_FILE), "np"):
            pass
    except SafetensorError as error:
        raise SourceDamagedError(f"{TENSOR_FILE} at '{address.text}' is damaged: {error}") from error
    with open(os.path.join(folder, CONFIG_FILE), "rb") as file:
        text = file.read()
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceDamagedError(f"{CONFIG_FILE} at '{address.text}' is no JSON") from error
