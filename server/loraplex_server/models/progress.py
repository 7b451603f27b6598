"""How far the loading of a model has come, for whoever waits at a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


@contextmanager
def progress(what: str, steps: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error where that is a terminal, one line of the log where it is not.

    Args:
        what: is being done.
        steps: until it is.

    Yields:
        To be called after each step.
    """
    if not sys.stderr.isatty():
        logger.info("%s", what)
        yield lambda: None
        return
    from rich.console import Console  # a terminal is a rare case, and a server's start should not wait for it
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=steps)
        yield lambda: bar.advance(task)
