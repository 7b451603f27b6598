"""Regular expressions that came with an adapter: compiled, or refused before they can hang anything.

Python's `re` holds the interpreter lock while it matches, so one expression that backtracks for minutes
stops the whole engine, not only the adapter that brought it.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

# Both are private to `re`; sre_parse is their public, deprecated face, and the only one before 3.11.
_parser: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
_REPEATS = frozenset({"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"})

# Backtracking is a search over choices. On a name of some 40 characters an open repeat (.*) is worth about four
# yes-or-no choices, for six of them in a row split the name in C(46, 6) = 2^23 ways. 2^26 steps take a second.
OPEN_REPEAT = 4
MOST_CHOICES = 26
LONGEST = 20_000  # characters


def pattern_reason(pattern: str) -> str | None:
    """Why an expression cannot be matched against module names in reasonable time, None where it can."""
    if len(pattern) > LONGEST:
        return f"is longer than {LONGEST} characters"
    try:
        re.compile(pattern)
        choices = _choices(_parser.parse(pattern))
    except (re.error, OverflowError, RecursionError) as error:
        return f"is not a regular expression: {error}"
    except _NestedError:
        return "repeats a group that has choices of its own, so that matching it could take minutes"
    if choices > MOST_CHOICES:
        return "has so many repeats and alternatives in a row that matching it could take minutes"
    return None


class _NestedError(Exception):
    """A repeated group has choices of its own."""


def _choices(tree: Any) -> int:
    """Yes-or-no choices that one match may have to try together, at worst."""
    total = 0
    for operation, argument in tree:
        if str(operation) in _REPEATS:
            least, most, body = argument
            inner = _choices(body)
            if inner and most > 1:
                raise _NestedError
            total += inner + (0 if least == most else 1 if most == 1 else OPEN_REPEAT)
        elif str(operation) == "BRANCH":
            total += 1 + max(_choices(branch) for branch in argument[1])
        else:
            total += sum(_choices(part) for part in _subtrees(argument))
    return total


def _subtrees(argument: Any) -> list[Any]:
    """Of a group, a look-around or a condition; a literal has none."""
    parts = argument if isinstance(argument, tuple) else (argument,)
    return [part for part in parts if isinstance(part, _parser.SubPattern)]
