"""Which name may mean what."""

from __future__ import annotations

from collections.abc import Callable, Collection

from loraplex_adapters.errors import AdapterConflictError
from loraplex_adapters.registry.name import require_plain
from loraplex_adapters.registry.registry import Registry


class NameRules:
    """What a name must not be before it is given to something.

    Args:
        registry: of the names that were given.
        is_folder: whether a sub-folder of the root has the name.
        reserved: the base model's names.
    """

    def __init__(self, registry: Registry, is_folder: Callable[[str], bool], reserved: Collection[str]) -> None:
        self._registry = registry
        self._is_folder = is_folder
        self._reserved = frozenset(reserved)

    def require_free(self, name: str, source: str, replace: bool) -> None:
        """Let a name be given to a source.

        Raises:
            AdapterNameError: nothing may be called so.
            AdapterConflictError: it means something else, and `replace` does not help.
        """
        self._require_possible(name)
        if name in self._registry.aliases:
            raise AdapterConflictError(f"'{name}' stands for adapter '{self._registry.aliases[name]}' already")
        known = self._registry.adapters.get(name)
        if known is None and self._is_folder(name):
            raise AdapterConflictError(f"'{name}' is a folder among the server's adapters already")
        if known is not None and known.source != source and not replace:
            raise AdapterConflictError(f"adapter '{name}' comes from '{known.source}' already")

    def require_lendable(self, name: str) -> None:
        """Let a name of the settings be given; it may have slashes.

        Raises:
            AdapterNameError: a part of it is no plain name.
            AdapterConflictError: the base model or a folder is called so.
        """
        for part in name.split("/"):
            require_plain(part)
        if name in self._reserved:
            raise AdapterConflictError(f"'{name}' is a name of the base model")
        if self._is_folder(name):
            raise AdapterConflictError(f"'{name}' is a folder among the server's adapters already")

    def require_alias(self, alias: str, target: str) -> None:
        """Let a name stand for an adapter, which need not be there yet.

        Raises:
            AdapterNameError: nothing may be called so.
            AdapterConflictError: it is an adapter's name.
        """
        self._require_possible(alias)
        if alias == target or alias in self._registry.adapters or self._is_folder(alias):
            raise AdapterConflictError(f"'{alias}' is an adapter itself and cannot stand for another")

    def _require_possible(self, name: str) -> None:
        require_plain(name)
        if name in self._reserved:
            raise AdapterConflictError(f"'{name}' is a name of the base model")
