"""Deeds of requests, done, denied or failed: each leaves its line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fastapi import Request

from loraplex_adapters.errors import AdapterError
from loraplex_server.api.errors import ApiError, from_domain
from loraplex_server.api.record import record_of
from loraplex_server.engine.interface import EngineError
from loraplex_server.logs.audit import Action, Deed, Outcome

_DENIED = (401, 403)


@contextlib.contextmanager
def audited(request: Request, action: Action) -> Iterator[Deed]:
    """The deed is what the block does; it is denied or has failed where the block raises."""
    deed = Deed(action)
    try:
        yield deed
    except BaseException as error:
        _log(request, deed, *_failure(error))
        raise
    _log(request, deed, "done")


def _failure(error: BaseException) -> tuple[Outcome, str]:
    """Its outcome, and why, in the words of the answer's code."""
    if isinstance(error, EngineError | AdapterError):
        error = from_domain(error)
    if isinstance(error, ApiError):
        return "denied" if error.status in _DENIED else "failed", str(error.code or error.outcome)
    return "failed", type(error).__name__


def _log(request: Request, deed: Deed, outcome: Outcome, reason: str | None = None) -> None:
    record = record_of(request)
    caller = record.caller
    by = caller.key_id or caller.own or "anyone"
    deed.log(outcome, reason, by=by, tenant=caller.tenant, client=record.client)
