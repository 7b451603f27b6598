"""Which of compressed-tensors' patterns are about a linear."""

from __future__ import annotations

import re
from collections.abc import Iterable

from loraplex_server.models.quantized.settings import Settings

# Every module that is asked about is a torch.nn.Linear, and so also what that is derived from.
_CLASSES = ("Linear", "Module")
_REGEX = "re:"


def check_patterns(patterns: Iterable[str], settings: Settings) -> None:
    """Raise CheckpointError unless all that say that they are regular expressions are."""
    for pattern in patterns:
        if pattern.startswith(_REGEX):
            settings.compiled(pattern.removeprefix(_REGEX))


def by_name(module: str, pattern: str) -> bool:
    """A whole name, or after `re:` a regular expression for its beginning (compressed_tensors/utils/match.py)."""
    if pattern.startswith(_REGEX):
        return re.match(pattern.removeprefix(_REGEX), module) is not None
    return pattern == module


def matches(module: str, patterns: Iterable[str]) -> bool:
    """Whether one of them is about the module, by its name or by its class."""
    return any(pattern in _CLASSES or by_name(module, pattern) for pattern in patterns)


def best(module: str, patterns: Iterable[str]) -> str | None:
    """The one that counts: a whole name before a regular expression before a class, else the first of the alphabet."""
    ordered = sorted(patterns, key=lambda pattern: (_REGEX in pattern, pattern))
    named = (pattern for pattern in ordered if by_name(module, pattern))
    return next(named, next((pattern for pattern in ordered if pattern in _CLASSES), None))
