"""Adding, changing and removing adapters while others are being used."""

from __future__ import annotations

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import UnknownAdapterError
from loraplex_adapters.registry import CatalogEntry
from loraplex_adapters.source import AdapterSource
from loraplex_server.api.adapters.adapter_outcomes import AdapterOutcomes
from loraplex_server.api.adapters.pin_keeper import PinKeeper
from loraplex_server.api.rendering.renderers import Renderers
from loraplex_server.api.schemas.adapters import AddAdapter, ChangeAdapter
from loraplex_server.engine.interface import Engine


class AdapterAdmin:
    """Args: catalog: of the names. engine: that loads them. renderers: of their tokenizers. outcomes: told of each.
    keeper: of what is pinned."""

    def __init__(
        self, catalog: Catalog, engine: Engine, renderers: Renderers, outcomes: AdapterOutcomes, keeper: PinKeeper
    ) -> None:
        self._catalog = catalog
        self._engine = engine
        self._renderers = renderers
        self._outcomes = outcomes
        self._keeper = keeper

    def find(self, name: str) -> CatalogEntry | None:
        """What a name means now; None where it means nothing."""
        try:
            return self._catalog.describe(name)
        except UnknownAdapterError:
            return None

    async def add(self, body: AddAdapter) -> bool:
        """Add an adapter. Whatever is wrong with it, what the name meant before stays as it was.

        Returns:
            Whether the name is new.

        Raises:
            AdapterError: it cannot be had, or not under that name.
            EngineError: it cannot be served.
            ApiError: its tokenizer cannot be used.
        """
        before = self.find(body.name)
        pin = body.pinned or (before is not None and before.pinned)

        loaded: list[tuple[AdapterSource, str]] = []

        async def accept(source: AdapterSource) -> None:
            await self._renderers.of([source])
            prepared = await self._engine.prepare(source, pin=pin)
            loaded.append((source, prepared.generation))

        loads = accept if body.preload or pin else None
        try:
            await self._catalog.add(
                body.name, body.source, pinned=body.pinned, replace=body.replace, aliases=body.aliases, accept=loads
            )
        except BaseException:  # the caller's leaving among them
            if pin:
                await self._keeper.renew(body.name)
            raise
        self._outcomes.forget(body.name)
        for source, generation in loaded:
            self._outcomes.succeeded(source, generation)
        return before is None

    async def change(self, name: str, body: ChangeAdapter) -> None:
        """Pin or unpin it, and give it other aliases.

        Raises:
            AdapterError, EngineError: nothing is changed.
        """
        name = self._catalog.canonical(name)
        try:
            if body.pinned:
                with await self._catalog.open(name) as held:
                    prepared = await self._engine.prepare(held.source, pin=True)
                self._outcomes.succeeded(held.source, prepared.generation)
            self._catalog.change(name, pinned=body.pinned, aliases=body.aliases)
        except BaseException:  # the caller's leaving among them
            if body.pinned:
                await self._keeper.renew(name)
            raise
        if body.pinned is False:
            await self._engine.unpin(name)

    async def remove(self, name: str) -> None:
        """Forget an adapter that was added, or an alias. Requests that it answers finish.

        Raises:
            AdapterError: there is none, or it is a folder that is there anyway.
        """
        self._catalog.remove(name)
        self._outcomes.forget(name)
        await self._engine.unpin(name)
