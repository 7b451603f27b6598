"""Waiting for a copy to the device."""

from __future__ import annotations

import time
from dataclasses import replace

from loraplex_adapters.loading import LoadedAdapter
from loraplex_adapters.transfer import Transfer

POLL_S = 0.0005  # between two looks


def landed(loaded: LoadedAdapter) -> LoadedAdapter:
    """The adapter once it is on the device, without what it was sent from; the calling thread waits for it."""
    while not loaded.transfer.done():
        time.sleep(POLL_S)
    return replace(loaded, transfer=Transfer.landed(loaded.buffer))
