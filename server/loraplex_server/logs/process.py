"""What a process writes without asking a logger: warnings, errors that nobody caught, and its last words in a crash."""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading
from types import TracebackType

logger = logging.getLogger("loraplex_server.process")


def log_everything() -> None:
    """Python's warnings and uncaught errors become lines of the log. Where native code crashes, the stacks of all
    threads are written as plain text: by then no code runs that could do better."""
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    faulthandler.enable()


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logger.critical("the process ends: %s", kind.__name__, exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = "a thread" if args.thread is None else f"the thread '{args.thread.name}'"
    error = args.exc_value or args.exc_type()
    logger.error("%s ends: %s", name, args.exc_type.__name__, exc_info=(args.exc_type, error, args.exc_traceback))
