"""What rank 0 and a follower say to each other. Plain data: msgspec over pipes."""

from __future__ import annotations

import msgspec

from loraplex_adapters.source import AdapterSource
from loraplex_server.engine.config import EngineConfig


class FollowerLaunch(msgspec.Struct, frozen=True):
    """What a follower reads before anything else."""

    config: EngineConfig
    rank: int
    store: str  # file by which the ranks find each other
    channel: int  # file descriptor of the socket beside its standard input


# Over the socket, in either direction: the start, and the adapters.


class Here(msgspec.Struct, frozen=True, tag=True):
    """A follower runs, and is about to join the others."""


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """A follower has its part of the model."""


class Measure(msgspec.Struct, frozen=True, tag=True):
    """All ranks have their parts: find out what memory is left."""


class Measured(msgspec.Struct, frozen=True, tag=True):
    """Bytes of a follower's device that may be shared out."""

    spare: int


class Caches(msgspec.Struct, frozen=True, tag=True):
    """How large the caches are, on every rank."""

    num_blocks: int
    max_model_len: int
    host_bytes: int  # for adapters that left the device


class Ready(msgspec.Struct, frozen=True, tag=True):
    """A follower takes steps."""


class StartFailed(msgspec.Struct, frozen=True, tag=True):
    """A follower cannot start; these are its last words."""

    message: str


class Read(msgspec.Struct, frozen=True, tag=True):
    """Read an adapter, and keep the rank's part of it."""

    number: int
    source: AdapterSource


class Drop(msgspec.Struct, frozen=True, tag=True):
    """Let go of an adapter that was read, or is being read, and will not be used."""

    number: int


class WasRead(msgspec.Struct, frozen=True, tag=True):
    """What came of `Read`, or of `Lift`."""

    number: int
    generation: str = ""  # of the content; "": there is an error
    error: str = ""
    changed: bool = False  # the error: its files were replaced meanwhile


class Beat(msgspec.Struct, frozen=True, tag=True):
    """A follower's process runs; see `pulse`."""


FromFollower = Here | Loaded | Measured | Ready | StartFailed | WasRead | Beat
ToFollower = Measure | Caches | Read | Drop

# Over the follower's standard input, in order: what happens in and between steps.


class Use(msgspec.Struct, frozen=True, array_like=True):
    """One adapter of a sequence; see `engine.binding.SlotUse`."""

    slot: int
    weight: float
    magnitude: bool
    head: bool
    low_rank: bool
    start: int
    virtual: int
    terms: bool


class Rows(msgspec.Struct, frozen=True, array_like=True):
    """See `engine.adapter_rows.Stretch`."""

    uses: tuple[Use, ...]
    position: int
    count: int


class Forward(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Compute a step; the tokens come by a broadcast, for perhaps only rank 0's device knows them."""

    counts: tuple[int, ...]  # of each span
    contexts: tuple[int, ...]
    tables: tuple[bytes, ...]  # int32, in the machine's byte order
    stretches: tuple[Rows, ...]


class Logits(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Score tokens; the rows come by a broadcast."""

    rows: int


class Seat(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Put an adapter that was read or lifted into a row of the table."""

    slot: int
    number: int


class Unseat(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Empty a row."""

    slot: int
    number: int  # under which its adapter is kept on the host; 0: it is not


class Lift(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Bring an adapter back from the host, and say when it is there."""

    number: int


class Forget(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Let go of an adapter that is kept on the host, or was lifted from there and will not be used."""

    number: int


Command = Forward | Logits | Seat | Unseat | Lift | Forget
