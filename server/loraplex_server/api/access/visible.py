"""The adapters that one caller may see: of the others it is told what it is told of names that nobody has."""

from __future__ import annotations

from fastapi import Request

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import UnknownAdapterError
from loraplex_adapters.registry import CatalogEntry
from loraplex_adapters.source import AdapterSource
from loraplex_server.api.access.caller import Caller
from loraplex_server.api.record import record_of
from loraplex_server.api.services import services_of


class Visible:
    """What can be asked of the catalogue without changing it, by the same names.

    Args:
        catalog: of all adapters.
        caller: who asks.
    """

    def __init__(self, catalog: Catalog, caller: Caller) -> None:
        self._catalog = catalog
        self.caller = caller

    def names(self) -> list[str]:
        """All that mean an adapter of the caller's, sorted, aliases among them."""
        return [name for name in self._catalog.names() if self._shows(name)]

    def aliases(self) -> dict[str, str]:
        """Each alias of the caller's adapters and what it stands for."""
        return {alias: name for alias, name in self._catalog.aliases().items() if self.caller.may_use(name)}

    def canonical(self, name: str) -> str:
        """What an alias stands for; any other name is itself. Raises UnknownAdapterError, as all that follow do."""
        return self._catalog.canonical(self._check(name))

    def describe(self, name: str) -> CatalogEntry:
        """What is known of a name."""
        return self._catalog.describe(self._check(name))

    def resolve(self, name: str) -> AdapterSource:
        """Where it is, as Catalog.resolve."""
        return self._catalog.resolve(self._check(name))

    def created(self, name: str) -> int:
        """Unix time at which it was added, as Catalog.created."""
        return self._catalog.created(self._check(name))

    def _shows(self, name: str) -> bool:
        return self.caller.may_use(self._catalog.meaning(name))

    def _check(self, name: str) -> str:
        """Before anything is looked at, so that a "no" takes as long for what is there as for what is not."""
        if not self._shows(name):
            raise UnknownAdapterError(f"there is no adapter '{name}'")
        return name


def visible_to(request: Request) -> Visible:
    """The adapters that whoever sent a request may see."""
    return Visible(services_of(request).catalog, record_of(request).caller)
