"""What a router says of a request in its headers: kept for the log, so that both sides' lines can be put together."""

from __future__ import annotations

from collections.abc import Mapping

from loraplex_server.logs.printable import PLAIN_WORD

# llm-d's router, and the gateway extension that it comes from.
_HEADERS = {
    "objective": ("x-llm-d-inference-objective", "x-gateway-inference-objective"),
    "fairness_id": ("x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id"),
    "rewritten_to": ("x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite"),
    "session": ("x-session-id",),
}
ROUTED = tuple(_HEADERS)  # the fields


def routed_fields(headers: Mapping[str, str]) -> dict[str, str]:
    """Fields for the log; what could not stand in a line as it is, is left out."""
    fields = {}
    for field, names in _HEADERS.items():
        value = next((headers[name] for name in names if name in headers), "")
        if PLAIN_WORD.fullmatch(value):
            fields[field] = value
    return fields
