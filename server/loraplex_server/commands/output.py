"""What a command writes, to a standard output that may be full, gone, or know nothing but ASCII."""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import TextIO

FAILED = 1
GONE = 128 + signal.SIGPIPE  # as a shell tells it of what the signal ended
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def written(prog: str, run: Callable[[], int]) -> int:
    """Run a command; returns its exit code, or another where what it wrote did not arrive.

    Args:
        prog: for the message. run: writes to sys.stdout and sys.stderr, and may leave it to be flushed.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # as sys.stderr has it
    try:
        try:
            return run()
        finally:
            if sys.stdout:  # none where the shell closed it
                sys.stdout.flush()
    except OSError as error:
        # One that was about a file or about another process's pipe is for who wrote this to see.
        if error.filename is not None or not (error.errno in _FULL or _nobody_reads(error)):
            raise
        for stream in (sys.stdout, sys.stderr):
            _silence(stream)
        if isinstance(error, BrokenPipeError):
            return GONE
        sys.stderr.write(f"{prog}: what it says cannot be written: {error.strerror}\n")
        return FAILED


def _nobody_reads(error: OSError) -> bool:
    if not isinstance(error, BrokenPipeError):
        return False
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        if stream:
            poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _silence(stream: TextIO | None) -> None:
    """What could not be written goes nowhere: else Python would try again at exit, and complain."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
