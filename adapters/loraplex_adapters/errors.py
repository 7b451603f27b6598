"""What can be wrong with an adapter; each message is written for the person who sent the request."""

from __future__ import annotations

from collections.abc import Sequence


class AdapterError(Exception):
    """Anything that makes an adapter unusable."""


class UnknownAdapterError(AdapterError):
    """No adapter of that name is in the catalogue."""


class AdapterChangedError(AdapterError):
    """Its files were replaced while they were being read: what was read may be of two versions, and is thrown away."""


class AdapterRefusedError(AdapterError):
    """The files are there, but cannot be served exactly: not silently, so not at all."""

    def __init__(self, name: str, reasons: Sequence[str]) -> None:
        self.name = name
        self.reasons = tuple(reasons)
        super().__init__(f"adapter '{name}' is refused: " + "; ".join(self.reasons))


class AdapterTooLargeError(AdapterRefusedError):
    """The adapter alone is larger than the whole budget for adapters."""
