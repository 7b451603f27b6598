"""Which adapter a request names, read from its JSON body whatever API it is of: it decides which replica is asked."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from loraplex_server.tenants.patterns import BASE

# Longer ones are no adapter's, and would be kept by whoever routes.
LONGEST_NAME = 200


class _Body(msgspec.Struct):
    """What may name adapters. Nothing is checked here: what is wrong with a body, the replica says."""

    model: Any = None
    adapters: Any = None
    parameters: Any = None  # LoRAX's


class Affinity:
    """Args: base: names of the base model."""

    def __init__(self, base: Collection[str]) -> None:
        self._base = frozenset({"", BASE, *base})

    def adapter_of(self, body: bytes) -> str:
        """The adapter that the replica should have, "" for none. Of a sum, the one that counts most.

        Requests to the base have none: they go to whichever replica has most room.
        """
        try:
            named = msgspec.json.decode(body, type=_Body)
            names = (named.model, _heaviest(named.adapters), *_of_lorax(named.parameters))
        # The last two: it is nested too deep, or a weight has hundreds of digits. The replica refuses it.
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
            return ""
        for name in names:
            if isinstance(name, str) and name not in self._base and len(name) <= LONGEST_NAME:
                return name
        return ""


def _heaviest(adapters: Any) -> Any:
    """Of `adapters`: [{"name", "weight"}]."""
    if not isinstance(adapters, list):
        return None
    found = [(_size(each.get("weight", 1.0)), each.get("name")) for each in adapters if isinstance(each, dict)]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _of_lorax(parameters: Any) -> tuple[Any, ...]:
    """Of `parameters`: adapter_id, or merged_adapters with its ids and weights."""
    if not isinstance(parameters, dict):
        return ()
    merged = parameters.get("merged_adapters")
    ids, weights = (merged.get("ids"), merged.get("weights")) if isinstance(merged, dict) else (None, None)
    if not isinstance(ids, list) or not isinstance(weights, list) or len(ids) != len(weights):
        return (parameters.get("adapter_id"),)
    pairs = [{"name": name, "weight": weight} for name, weight in zip(ids, weights, strict=True)]
    return (parameters.get("adapter_id"), _heaviest(pairs))


def _size(weight: Any) -> float:
    return abs(float(weight)) if isinstance(weight, int | float) else 0.0
