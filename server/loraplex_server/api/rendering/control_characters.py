r"""Characters that JSON can only write as \uXXXX."""

from __future__ import annotations

import re

# JSON has short escapes for the others: \b \t \n \f \r.
_PLAIN = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f]")
# The ways in which a regular expression may write one of them by itself.
_WRITTEN = re.compile(r"\\(?:x(?:[01][0-9A-Fa-f]|7[Ff]|\{)|u(?:00(?:[01][0-9A-Fa-f]|7[Ff])|\{)|[0cva])")


def may_match_control(text: str, *, regex: bool) -> bool:
    """Whether a text has such a character, or a regular expression may ask for one."""
    return bool(_PLAIN.search(text) or (regex and _WRITTEN.search(text)))
