"""Text from outside, on a terminal: nothing in it may begin a line of its own, move the cursor or change colours."""

from __future__ import annotations

import re

# Control characters of both sets with delete, the separators that some viewers break lines at, and what turns the
# direction of text around.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_INDENT = "    "
# Names that others give to things, in headers for one: those that can stand in a line as they are.
PLAIN_WORD = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def printable(text: str) -> str:
    r"""On one line; what is no visible character is spelled, as `\n` or `\x1b`."""
    return _UNPRINTABLE.sub(_spelled, text)


def printable_lines(text: str) -> str:
    """Line by line, each set in, so that none looks like the beginning of a record."""
    return "\n".join(_INDENT + printable(line) for line in text.split("\n"))


def _spelled(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _NAMES.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
