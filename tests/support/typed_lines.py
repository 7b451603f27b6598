"""What a page tells people to type: the lines that begin with `$ `."""

from __future__ import annotations

import re


def typed_lines(page: str, *start: str) -> list[str]:
    """Those that begin with these words, without the `$`.

    Raises:
        LookupError: there is none.
    """
    lines = re.findall(r"^ *\$ (.*)$", page, re.MULTILINE)
    found = [line for line in lines if tuple(line.split()[: len(start)]) == start]
    if not found:
        raise LookupError(f"the page has no line: $ {' '.join(start)} ...")
    return found
