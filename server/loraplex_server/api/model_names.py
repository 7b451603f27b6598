"""What a request means by `model` and `adapters`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import UnknownAdapterError
from loraplex_server.api.errors import bad_request, model_not_found
from loraplex_server.api.schemas.sampling import AdapterWeight
from loraplex_server.engine.messages import AdapterUse

BASE_ALIAS = "base"


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

    def resolve(self, model: str, adapters: Sequence[AdapterWeight] = ()) -> Target:
        """What a request asked for.

        Raises:
            ApiError: 404 for a name that nobody has, 400 for an adapter named in both places.
        """
        if not self.is_base(model):
            if adapters:
                raise bad_request("'adapters' are added to the base: 'model' must name it", param="adapters")
            return Target(model, (self._use(model, 1.0, "model"),))
        uses = tuple(self._use(each.name, each.weight, "adapters") for each in adapters)
        return Target(model or self.base, uses)

    def _use(self, name: str, weight: float, param: str) -> AdapterUse:
        try:
            return AdapterUse(self._catalog.resolve(name), weight)
        except UnknownAdapterError:
            raise model_not_found(name, param) from None
