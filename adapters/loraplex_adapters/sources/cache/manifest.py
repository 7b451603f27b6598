"""What an entry of the disk cache consists of, so that damage is seen."""

from __future__ import annotations

import hashlib
import os

import msgspec

FILE = "manifest.json"
PIECE = 1 << 20


class ManifestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file: sha256 in hex, and what stat said of it when it was written."""

    name: str
    size: int
    sha256: str
    mtime_ns: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All files of an entry, sorted by name."""

    files: tuple[ManifestFile, ...]

    @property
    def key(self) -> str:
        """The hash of the content: names, sizes and hashes of all files."""
        text = "".join(f"{file.sha256} {file.size} {file.name}\n" for file in self.files)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def nbytes(self) -> int:
        """Of all files."""
        return sum(file.size for file in self.files)


def read_manifest(folder: str) -> Manifest | None:
    """The manifest of an entry; None where there is none that can be read."""
    try:
        with open(os.path.join(folder, FILE), "rb") as file:
            return msgspec.json.decode(file.read(), type=Manifest)
    except (OSError, msgspec.MsgspecError):
        return None


def changed(folder: str, manifest: Manifest) -> str | None:
    """The cheap look: what is wrong with sizes and times, or None."""
    for file in manifest.files:
        try:
            found = os.stat(os.path.join(folder, file.name), follow_symlinks=False)
        except OSError as error:
            return f"{file.name}: {error.strerror}"
        if found.st_size != file.size:
            return f"{file.name} has {found.st_size} bytes instead of {file.size}"
        if found.st_mtime_ns != file.mtime_ns:
            return f"{file.name} was written to"
    return None


def corrupt(folder: str, manifest: Manifest) -> str | None:
    """The full look: what is wrong with the content, or None."""
    for file in manifest.files:
        try:
            found = sha256_of(os.path.join(folder, file.name))
        except OSError as error:
            return f"{file.name}: {error.strerror}"
        if found != file.sha256:
            return f"{file.name} has other content than it was written with"
    return None


def sha256_of(path: str) -> str:
    """Of a whole file, in hex. Lets go of the interpreter lock."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
