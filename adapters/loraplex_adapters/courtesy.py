"""Letting the step loop go first."""

from __future__ import annotations

import threading
import time

# Python's own switch of threads comes only every 5 ms, and a step asks for the interpreter hundreds of times.
EVERY_S = 0.0003
PAUSE_S = 0.00005  # long enough for a thread that waits for the interpreter to wake up and take it


class _Clock(threading.local):
    resumed = 0.0


_clock = _Clock()


def breathe() -> None:
    """Let go of the interpreter lock if this thread has had it for a while; called in every loop of pure Python.

    Loading runs beside the step loop. Where it computes in native code the lock is free anyway; where it goes through
    hundreds of names in Python, it would otherwise make each of the step's own calls wait for it.
    """
    now = time.perf_counter()
    if now - _clock.resumed > EVERY_S:
        time.sleep(PAUSE_S)
        _clock.resumed = time.perf_counter()
