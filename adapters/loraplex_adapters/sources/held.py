"""Something on the disk that stays there while somebody needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from loraplex_adapters.source import AdapterSource


def _nothing() -> None:
    pass


@dataclass
class HeldFolder:
    """A folder with an adapter's files. A copy in the disk cache is not evicted until `release`.

    Args:
        path: of the folder.
        revision: what the source calls this content; empty for a local folder.
        waited_s: seconds that its source was waited for; 0 for what was here, and new.
    """

    path: str
    revision: str = ""
    on_release: Callable[[], None] = field(default=_nothing, repr=False)
    waited_s: float = 0.0

    def release(self) -> None:
        """End the hold; twice is once."""
        ended, self.on_release = self.on_release, _nothing
        ended()


@dataclass(frozen=True)
class HeldAdapter:
    """An adapter whose files are on this machine, and stay until `release`.

    Args:
        source: what the engine is given.
        folder: that is held.
    """

    source: AdapterSource
    folder: HeldFolder

    def release(self) -> None:
        """End the hold; twice is once. The engine must have read the files, or have given up."""
        self.folder.release()

    def close(self) -> None:
        """As release."""
        self.release()

    def __enter__(self) -> HeldAdapter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
