"""Room for the adapters' files: in memory where there is enough, so that what is timed is no disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MEMORY = Path("/dev/shm")
SPARE = 256 << 20  # bytes that stay free


@dataclass(frozen=True)
class Room:
    """A folder, and the bytes that may be written there."""

    folder: Path
    nbytes: int


@dataclass(frozen=True)
class Wanted:
    """Batches and modes, and the bytes of the adapters that they take."""

    batches: tuple[int, ...]
    modes: tuple[str, ...]
    least: int  # adapters of the plain rank that are needed whatever the batches are
    plain_bytes: int  # of one
    mixed_bytes: int  # of one, on average

    @property
    def plain(self) -> int:
        """How many there are of one rank."""
        return max(self.least, *self.batches)

    @property
    def mixed(self) -> int:
        """How many there are of several ranks."""
        return max(self.batches) if "mixed" in self.modes else 0

    @property
    def nbytes(self) -> int:
        """Of all."""
        return self.plain * self.plain_bytes + self.mixed * self.mixed_bytes


def room_for(nbytes: int, folders: Sequence[Path] = ()) -> Room:
    """The first folder with room for so many bytes; where none has, the one with the most.

    Args:
        nbytes: to be written.
        folders: to choose from; none: memory, the system's temporary folder, the one that this runs in.
    """
    given = folders or (MEMORY, Path(tempfile.gettempdir()), Path.cwd())
    rooms = [Room(folder, max(0, shutil.disk_usage(folder).free - SPARE)) for folder in given if folder.is_dir()]
    enough = [room for room in rooms if room.nbytes >= nbytes]
    return enough[0] if enough else max(rooms, key=lambda room: room.nbytes)


def fitted(wanted: Wanted, nbytes: int) -> Wanted:
    """As much of it as fits: first the adapters of mixed ranks are left out, then the largest batches.

    Raises:
        OSError: not even the smallest batch fits.
    """
    while wanted.nbytes > nbytes:
        batches, modes = wanted.batches, tuple(mode for mode in wanted.modes if mode != "mixed")
        if modes == wanted.modes:
            batches = tuple(batch for batch in batches if batch != max(batches))
        if not batches or not modes:
            raise OSError(f"adapters of {wanted.nbytes >> 20} MiB are needed at least, and {nbytes >> 20} MiB are free")
        wanted = Wanted(batches, modes, wanted.least, wanted.plain_bytes, wanted.mixed_bytes)
    return wanted
