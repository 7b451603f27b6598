"""Names of adapters or tenants as metric labels, with a bound on how many there can be."""

from __future__ import annotations

BASE = "base"
OTHER = "other"


class AdapterNames:
    """The first `limit` names have series of their own, all later ones share `other`.

    Only names that the catalogue resolved, or that a key was made for, come here: no request can invent a label.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._own: set[str] = set()

    def labels(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Labels under which a request with these adapters counts; without any, the base's."""
        return tuple(dict.fromkeys(self._label(name) for name in names)) or (BASE,)

    def _label(self, name: str) -> str:
        if name not in self._own:
            if len(self._own) >= self._limit:
                return OTHER
            self._own.add(name)
        return name
