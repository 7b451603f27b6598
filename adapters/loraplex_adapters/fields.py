"""Typed reading of a JSON object that collects every complaint instead of stopping at the first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeGuard


class Fields:
    """The keys of one JSON object.

    Each method returns a harmless default after a complaint, so that reading goes on to the next key.

    Args:
        values: the object.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = values
        self.reasons: list[str] = []  # what was wrong so far, each naming its key

    def flag(self, key: str) -> bool:
        """A boolean; missing or null is false."""
        value = self._values.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        self._complain(key, "true or false", value)
        return False

    def positive(self, key: str, default: int) -> int:
        """A whole number above zero, `default` where it is missing."""
        value = self._values.get(key, default)
        if _is_positive(value):
            return value
        self._complain(key, "a whole number above zero", value)
        return default

    def number(self, key: str, default: float) -> float:
        """A finite number, `default` where it is missing."""
        value = self._values.get(key, default)
        if _is_finite(value):
            return float(value)
        self._complain(key, "a finite number", value)
        return default

    def text(self, key: str) -> str | None:
        """A string, or None."""
        value = self._values.get(key)
        if value is None or isinstance(value, str):
            return value
        self._complain(key, "a string", value)
        return None

    def names(self, key: str) -> str | tuple[str, ...] | None:
        """A string as it is, or a list of strings."""
        value = self._values.get(key)
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self._complain(key, "a string or a list of strings", value)
        return None

    def indices(self, key: str) -> tuple[int, ...] | None:
        """A list of whole numbers, or one by itself."""
        value = self._values.get(key)
        if value is None:
            return None
        items = value if isinstance(value, list) else [value]
        if all(isinstance(item, int) and not isinstance(item, bool) for item in items):
            return tuple(items)
        self._complain(key, "a whole number or a list of them", value)
        return None

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings that are not empty; missing or null is none."""
        value = self._values.get(key)
        if value is None:
            return ()
        if isinstance(value, list) and all(isinstance(item, str) and item for item in value):
            return tuple(value)
        self._complain(key, "a list of names", value)
        return ()

    def token_ids(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers, none below zero; missing or null is none."""
        value = self._values.get(key)
        if value is None:
            return ()
        if not _are_ids(value):
            self._complain(key, "a list of token ids", value)
            return ()
        return tuple(value)

    def tokens(self, key: str) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
        """A list of different token ids, or several by name."""
        value = self._values.get(key)
        if value is None:
            return ()
        if isinstance(value, dict):
            found = {str(name): tuple(ids) for name, ids in value.items() if _are_ids(ids) and _differ(ids)}
            if len(found) == len(value):
                return found
        elif _are_ids(value) and _differ(value):
            return tuple(value)
        self._complain(key, "a list of different token ids, or an object of such lists", value)
        return ()

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of several strings, the first where it is missing."""
        value = self._values.get(key, choices[0])
        if isinstance(value, str) and value in choices:
            return value
        self._complain(key, "one of " + ", ".join(map(repr, choices)), value)
        return choices[0]

    def ranks(self, key: str) -> dict[str, int]:
        """A mapping from pattern to a whole number above zero, in the file's order."""
        found = self._object(key)
        ranks = {pattern: value for pattern, value in found.items() if _is_positive(value)}
        if len(ranks) < len(found):
            self._complain(key, "an object of whole numbers above zero", found)
        return ranks

    def numbers(self, key: str) -> dict[str, float]:
        """A mapping from pattern to a finite number, in the file's order."""
        found = self._object(key)
        numbers = {pattern: float(value) for pattern, value in found.items() if _is_finite(value)}
        if len(numbers) < len(found):
            self._complain(key, "an object of finite numbers", found)
        return numbers

    def _object(self, key: str) -> dict[str, object]:
        value = self._values.get(key)
        if value is None or isinstance(value, dict):
            return value or {}
        self._complain(key, "an object", value)
        return {}

    def _complain(self, key: str, expected: str, found: object) -> None:
        self.reasons.append(f"'{key}' must be {expected}, found {found!r:.80}")


def _are_ids(value: object) -> TypeGuard[list[int]]:
    whole = (
        isinstance(item, int) and not isinstance(item, bool) for item in (value if isinstance(value, list) else ())
    )
    return isinstance(value, list) and all(whole) and all(0 <= item < 2**63 for item in value)


def _differ(ids: list[int]) -> bool:
    return len(set(ids)) == len(ids)


def _is_positive(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _is_finite(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # A JSON integer has any number of digits, and the long ones overflow a float.
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)
