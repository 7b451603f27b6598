"""What a request means by `model` and `adapters`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import UnknownAdapterError
from loraplex_server.api.access.caller import ANYONE, Caller
from loraplex_server.api.adapters.holds import Holds, Wait
from loraplex_server.api.errors import bad_request, model_not_found
from loraplex_server.api.schemas.sampling import AdapterWeight
from loraplex_server.engine.messages import AdapterUse
from loraplex_server.tenants.patterns import BASE

BASE_ALIAS = BASE


@dataclass(frozen=True)
class Target:
    """What answers: the base, or the base with adapters. `name` is what the answer calls it."""

    name: str
    adapters: tuple[AdapterUse, ...] = ()

    @property
    def adapter_names(self) -> tuple[str, ...]:
        """Names for logs and metrics; all of them were found in the catalogue."""
        return tuple(use.source.name for use in self.adapters)


class ModelNames:
    """Args: base: names of the base model, the listed one first. catalog: of the adapters."""

    def __init__(self, base: Sequence[str], catalog: Catalog) -> None:
        self.base = base[0]
        self._base_names = frozenset({"", BASE_ALIAS, *base})
        self._catalog = catalog

    def is_base(self, name: str) -> bool:
        """Whether a name means the base model; it wins over an adapter's of the same name."""
        return name in self._base_names

    async def resolve(
        self, model: str, adapters: Sequence[AdapterWeight], holds: Holds, caller: Caller = ANYONE
    ) -> Target:
        """What a request asked for; its adapters are on the disk, and stay there while they are held.

        Who may not use a name is told that nobody has it. A sum names the base, which its weights can come down to, so
        whoever asks for one must be allowed to use the base too.

        Raises:
            ApiError: 404 for a name that nobody has, or not for the caller; 400 for an adapter named in both places, or
                under two names.
            AdapterError: one cannot be had.
        """
        if not self.is_base(model):
            if adapters:
                raise bad_request("'adapters' are added to the base: 'model' must name it", param="adapters")
            return Target(model, (await self._use(model, 1.0, "model", holds, caller),))
        if not caller.may_use_base:
            raise model_not_found(model)
        uses = tuple([await self._use(each.name, each.weight, "adapters", holds, caller) for each in adapters])
        if len({use.source.name for use in uses}) < len(uses):
            raise bad_request("'adapters': two of these names are aliases of one adapter", param="adapters")
        return Target(model or self.base, uses)

    async def _use(self, name: str, weight: float, param: str, holds: Holds, caller: Caller) -> AdapterUse:
        # Before anything is looked at: the way to "no" is the same, and as long, whether the adapter is there or not.
        if not caller.may_use(self._catalog.meaning(name)):
            raise model_not_found(name, param)
        try:
            held = await self._catalog.open(name)
        except UnknownAdapterError:
            raise model_not_found(name, param) from None
        holds.add(held)
        if held.folder.waited_s:
            holds.waited.append(Wait(held.source.name, time.perf_counter(), held.folder.waited_s))
        return AdapterUse(held.source, weight)
