"""Calls of one host wrapper that differ in some values."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from launches.recorder import recorded
from launches.variant import Variant

Row = tuple[Any, ...]  # a capability, and one value of each kind
# The data centers' and, with less shared memory, the consumers'; sm_86 is to the kernels as sm_89, without float8.
CAPABILITIES = (80, 89, 90, 100, 120)


def _always(*row: Hashable) -> bool:
    return True


@dataclass(frozen=True)
class Family:
    """A host wrapper, and all that its launches depend on."""

    launch: Callable[..., None]  # called with one value of each kind, in their order
    values: Mapping[str, Sequence[Hashable]]  # by kind
    takes: Callable[..., bool] = _always  # whether it is ever called so: of a capability and one value of each kind

    def rows(self) -> list[Row]:
        """All that it is called with."""
        return [row for row in product(CAPABILITIES, *self.values.values()) if self.takes(*row)]

    def variants(self, row: Row) -> list[Variant]:
        """What it launches then."""
        capability, *values = row
        told = [_told(kind, value) for kind, value in zip(self.values, values, strict=True)]
        return recorded(partial(self.launch, *values), " ".join(filter(None, told)), capability)


def _told(kind: str, value: Any) -> str:
    if isinstance(value, bool):
        return kind if value else ""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return value if isinstance(value, str) else f"{kind}={value}"
