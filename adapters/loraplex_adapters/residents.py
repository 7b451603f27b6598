"""What residency counts: entries, claims on them, and what has to be done."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class State(Enum):
    """Of an adapter that somebody waits for or that is in memory; all others are absent."""

    SIZING = "being sized"
    SIZED = "waiting for room"
    LOADING = "loading"
    RESIDENT = "resident"


@dataclass(eq=False)
class Entry(Generic[K]):
    """One adapter."""

    key: K
    state: State = State.SIZING
    nbytes: int = 0  # known from SIZED on
    users: int = 0  # keys of granted claims: it must stay
    pins: int = 0  # it must stay, whoever uses it
    wanted: int = 0  # by claims that wait
    outdated: bool = False  # there is a newer version
    leaving: bool = False  # takes no new claims, for its room is needed

    @property
    def held(self) -> bool:
        """It takes room."""
        return self.state in (State.LOADING, State.RESIDENT)

    @property
    def idle(self) -> bool:
        """It could leave."""
        return self.state is State.RESIDENT and not self.users and not self.pins


@dataclass(eq=False)
class Claim(Generic[K]):
    """Keys that are needed together; a key may be there twice."""

    keys: list[K]


@dataclass
class Plan(Generic[K]):
    """What has to be done now, in this order."""

    drop: list[K] = field(default_factory=list)  # evict, and nobody will ask for it again
    evict: list[K] = field(default_factory=list)
    load: list[K] = field(default_factory=list)
    impossible: list[Claim[K]] = field(default_factory=list)  # larger than the whole budget, and forgotten
