"""How calls are written, as text with holes: enough to demand them of a model by a grammar."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CallSyntax:
    """`opening`; for each call `before` NAME `between` ARGUMENTS `after`, divided by `separator`; `closing`.

    Args:
        trigger: with which `opening` + `before` begin, and by which a call is known in the middle of a text. Without
            one, an answer is calls from its beginning, or none; `prefix` may then stand before its calls.
    """

    before: str
    between: str
    after: str
    separator: str
    opening: str = ""
    closing: str = ""
    trigger: str | None = None
    prefix: str = ""
