"""Adapters that are loaded before any request asks for them."""

from __future__ import annotations

from loraplex_adapters.errors import AdapterError
from loraplex_adapters.lease import Lease
from loraplex_adapters.store import AdapterStore
from loraplex_server.engine.messages import AdapterPrepared, Failed, PrepareAdapter


class Preparations:
    """Each holds a lease until its adapter is in memory, and pins it before the lease is given back.

    Args:
        store: that loads and pins.
    """

    def __init__(self, store: AdapterStore) -> None:
        self._store = store
        self._leases: dict[str, tuple[PrepareAdapter, Lease]] = {}  # by the message's id
        self._may_pin: dict[str, str] = {}  # name -> the latest message that wants to pin it

    def __bool__(self) -> bool:
        return bool(self._leases)

    def add(self, message: PrepareAdapter) -> None:
        """Begin."""
        self._leases[message.request_id] = message, self._store.request(message.source)
        if message.pin:
            self._may_pin[message.source.name] = message.request_id

    def unpin(self, name: str) -> None:
        """Take a name's pin away, and the wish for one that was not fulfilled yet."""
        self._may_pin.pop(name, None)
        self._store.unpin(name)

    def collect(self) -> list[AdapterPrepared | Failed]:
        """What became of those that ended since the last call. To be called after the store was polled."""
        ended = [message for message, lease in self._leases.values() if lease.state != "waiting"]
        return [self._end(message) for message in ended]

    def _end(self, message: PrepareAdapter) -> AdapterPrepared | Failed:
        _, lease = self._leases.pop(message.request_id)
        name = message.source.name
        wanted = self._may_pin.get(name) == message.request_id
        if wanted:
            del self._may_pin[name]
        try:
            if lease.error is not None:
                raise lease.error
            if wanted:
                self._store.pin(lease)
            return AdapterPrepared(
                request_id=message.request_id, generation=lease.generation, nbytes=self._store.nbytes(lease)
            )
        except AdapterError as error:
            return Failed(request_id=message.request_id, kind="adapter", message=str(error))
        finally:
            self._store.release(lease)
