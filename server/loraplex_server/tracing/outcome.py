"""Whether a request ended in an error, as its span tells it."""

from __future__ import annotations

from loraplex_server.api.record import RequestRecord

_GOOD = frozenset({"ok", "stop", "length"})
# Their status says that it was the client, but it is this server that did not answer.
_OURS = frozenset({"cancelled", "deadline_exceeded"})


def error_type(record: RequestRecord) -> str | None:
    """The word for what went wrong; None where nothing did.

    A server's span is no error where its client asked for something that cannot be (status 4xx), as OpenTelemetry's
    conventions for HTTP have it; `loraplex.outcome` says what it was. An error of ours may come when the stream, and
    with it a status of 200, was sent.
    """
    outcome, status = record.final_outcome, record.status
    if outcome in _OURS:
        return outcome
    if status is None or status >= 500:
        return outcome
    return None if status >= 400 or _GOOD.issuperset(outcome.split(",")) else outcome
