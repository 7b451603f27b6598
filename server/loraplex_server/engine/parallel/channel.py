"""Messages over a pipe or a socket, whole and in order."""

from __future__ import annotations

import os
import struct
import threading
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")

_LENGTH = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode


class Sender:
    """Writes to a file descriptor, from any thread. Args: fd: open for writing; closed by its owner."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, message: msgspec.Struct) -> None:
        """Waits only where the other side has not read what came before for long.

        Raises:
            OSError: the other side is gone.
        """
        self.send_encoded(encoded(message))

    def send_encoded(self, frame: bytes) -> None:
        """The same for what was encoded once for several. Raises: see `send`."""
        with self._lock:
            view = memoryview(frame)
            while view:
                view = view[os.write(self._fd, view) :]


class Receiver(Generic[T]):
    """Reads from a file descriptor, on one thread. Args: fd: open for reading. kind: of the messages."""

    def __init__(self, fd: int, kind: Any) -> None:
        self._fd = fd
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)

    def receive(self) -> T | None:
        """The next message, once it is there; None: the other side is gone, or has nothing more to say."""
        head = self._exactly(_LENGTH.size)
        body = None if head is None else self._exactly(_LENGTH.unpack(head)[0])
        return None if body is None else self._decoder.decode(body)

    def _exactly(self, count: int) -> bytes | None:
        parts = bytearray()
        while len(parts) < count:
            try:
                part = os.read(self._fd, count - len(parts))
            except ConnectionError:
                return None
            if not part:
                return None
            parts += part
        return bytes(parts)


def encoded(message: msgspec.Struct) -> bytes:
    """A message as `Sender.send_encoded` takes it."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body
