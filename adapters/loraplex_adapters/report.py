"""What the store says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

Tier = Literal["device", "host", "loading", "waiting"]
# Where an adapter was when somebody asked for it.
Origin = Literal["device", "host", "disk"]


class AdapterEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an adapter that is in memory, or on its way there."""

    name: str  # under which it was first asked for
    generation: str  # hash of its content; "" until it was read
    tier: Tier  # "waiting": for its header to be read, or for room; "host": kept there for the next who asks
    nbytes: int  # 0 until its header was read
    in_flight: int  # leases
    last_used: float  # unix time of the latest lease taken or given back
    pinned: bool


@dataclass(frozen=True)
class StoreStats:
    """The store at one moment; totals count from its start."""

    resident: tuple[str, ...]  # names of what can be used at once
    waiting: tuple[str, ...]  # names that leases wait for
    resident_bytes: int
    host_bytes: int  # of what is kept in the host tier
    loads_total: int  # from disk
    host_loads_total: int  # from the host tier
    load_failures_total: int
    evictions_total: int  # from the device, to make room
    host_evictions_total: int  # from the host tier
    hits_total: int  # adapters that were there when a request asked for them
    host_hits_total: int  # that were not, but in the host tier
    misses_total: int  # that were not there, those in the host tier among them
    load_seconds: tuple[float, ...]  # a loader thread's time for each load from disk since the last call
    entries: tuple[AdapterEntry, ...]
