"""Libraries that write to standard error by themselves, in a form of their own: here they write as everybody does."""

from __future__ import annotations

import logging

LIBRARIES = ("transformers", "huggingface_hub")


class AdoptedLogger(logging.Logger):
    """Takes no handler, and always passes on what it is told: whenever the library is imported, and sets itself up."""

    def addHandler(self, hdlr: logging.Handler) -> None:  # noqa: N802
        """Not here."""

    @property
    def propagate(self) -> bool:
        """Always."""
        return True

    @propagate.setter
    def propagate(self, wanted: bool) -> None:
        pass


def adopt_libraries() -> None:
    """Those that are imported, and those that will be."""
    for name in LIBRARIES:
        library = logging.getLogger(name)
        library.handlers[:] = []
        library.__class__ = AdoptedLogger
