"""The two sockets between the HTTP process and one engine process."""

from __future__ import annotations

import msgspec

from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.messages import FromEngine, ToEngine

encode = msgspec.msgpack.Encoder().encode
decode_to_engine = msgspec.msgpack.Decoder(ToEngine).decode
decode_from_engine = msgspec.msgpack.Decoder(FromEngine).decode


class Launch(msgspec.Struct, frozen=True):
    """What an engine process reads from its standard input before anything else, as one line of JSON."""

    config: EngineConfig
    requests: str  # address to pull ToEngine messages from
    replies: str  # address to push FromEngine messages to
