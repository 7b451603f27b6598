"""What identifies an adapter's weights: the hash of everything that decides its outputs."""

from __future__ import annotations

import hashlib

SHORT = 12  # hex digits that are shown to people


class ContentHash:
    """SHA-256 over an adapter's two files, fed piece by piece while they are read.

    hashlib lets go of the interpreter lock for pieces above 2 kB.

    Args:
        config: content of adapter_config.json; its length goes in first, so that no byte can move between the files.
    """

    def __init__(self, config: bytes) -> None:
        self._hash = hashlib.sha256(len(config).to_bytes(8, "little"))
        self._hash.update(config)

    def update(self, piece: bytes | memoryview) -> None:
        """The next bytes of the tensor file."""
        self._hash.update(piece)

    def generation(self) -> str:
        """The hash so far: 64 hex digits."""
        return self._hash.hexdigest()


def short(generation: str) -> str:
    """The form of a generation for logs and listings."""
    return generation[:SHORT]
