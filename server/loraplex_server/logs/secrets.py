"""Secrets that this process knows by heart: they are taken out of all that it says, wherever they stand in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote

SHORTEST = 6  # characters; what is shorter is a part of too many words
# Variables by the ends of their names: HF_TOKEN, AWS_SECRET_ACCESS_KEY, LORAPLEX_API_KEY, OTEL_EXPORTER_OTLP_HEADERS.
_NAMES = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|ADMIN_KEY|ACCESS_KEY(_ID)?|OTLP(_TRACES)?_HEADERS)$")


def secrets_in(environ: Mapping[str, str]) -> set[str]:
    """Values of variables that hold secrets; of lists, each item, and of headers, each value."""
    found: set[str] = set()
    for name, value in environ.items():
        if not _NAMES.search(name) or value.startswith("/"):
            continue
        found.add(value)
        for item in value.split(","):
            found.add(item.strip())
            if name.endswith("HEADERS"):
                header = unquote(item.partition("=")[2]).strip()
                found |= {header, header.rpartition(" ")[2]}
    return {secret for secret in found if len(secret) >= SHORTEST}


def spellings(secrets: Iterable[str]) -> list[tuple[str, re.Pattern[str]]]:
    """Each secret as it may stand in a log, also inside of JSON, of a URL or of Python's repr; the longest first.

    A part of a longer word is not meant: who calls a key `server` does not lose every `server_name`.
    """
    forms: set[str] = set()
    for secret in secrets:
        if len(secret) >= SHORTEST:
            written = {json.dumps(secret, ensure_ascii=ascii)[1:-1] for ascii in (True, False)}
            forms |= {secret, *written, repr(secret)[1:-1], quote(secret, safe="")}
    return [(form, re.compile(rf"(?<!\w){re.escape(form)}(?!\w)")) for form in sorted(forms, key=len, reverse=True)]
