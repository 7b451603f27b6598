"""Reading files that somebody may be replacing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from loraplex_adapters.errors import AdapterChangedError

T = TypeVar("T")

# A trainer that saves in place is done after some; one that never is done gets its error.
PAUSES_S = (0.0, 0.05, 0.2, 0.5, 1.0)


def steady(read: Callable[[], T]) -> T:
    """Read again where the files were replaced meanwhile, so that nobody has to ask again for that.

    Args:
        read: from the start, whatever came of it before.

    Raises:
        AdapterChangedError: they were replaced each time.
    """
    for pause in PAUSES_S:
        try:
            return read()
        except AdapterChangedError:  # noqa: PERF203  # that it is read again is what the loop is for
            time.sleep(pause)
    return read()
