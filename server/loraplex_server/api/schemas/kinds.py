"""Lists whose entries say of which type they are, where only some types are served."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import BeforeValidator


def of_kinds(noun: str, kind: Callable[[Mapping[str, Any]], Any], served: Collection[str]) -> BeforeValidator:
    """Lets only these through, and says of others what is served: pydantic would tell of tags and unions.

    Args:
        noun: what the entries are called, in the plural.
        kind: of an entry, as it is written.
        served: the kinds that go through.
    """

    def check(entry: Any) -> Any:
        if not isinstance(entry, dict):
            raise ValueError("must be an object")
        if (found := str(kind(entry))) not in served:
            raise ValueError(f"{noun} of the type {found[:60]!r} are not served, only {', '.join(served)}")
        return entry

    return BeforeValidator(check)
