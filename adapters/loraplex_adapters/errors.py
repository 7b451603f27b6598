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


class AdapterNameError(AdapterError):
    """A name that no adapter may have."""


class AdapterConflictError(AdapterError):
    """The name means something else already, or what was asked of it contradicts what it is."""


class SourceError(AdapterError):
    """An adapter cannot be had from where it is said to be."""


class SourceNotAllowedError(SourceError):
    """The settings do not let adapters come from there, or the text names no place at all."""


class SourceNotFoundError(SourceError):
    """The place answers, and has no adapter there, or none for us."""


class SourceUnavailableError(SourceError):
    """The place does not answer as it should; it may, later."""


class SourceTooLargeError(SourceError):
    """A file is larger than the settings let one be, or all of them than the disk cache."""


class SourceDamagedError(SourceError):
    """What came is not what was announced, or cannot be an adapter's; it was fetched twice."""


class DiskFullError(AdapterError):
    """There is no room for its copy: what fills the disk cache is in use."""


class NotRememberedError(AdapterError):
    """A change of names cannot be written to the server's disk; nothing is changed."""


class RegistryError(Exception):
    """The folder that remembers names cannot be used; written for the person who starts the server."""
