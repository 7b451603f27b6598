"""GET /v1/usage: what was used, by tenant, key, adapter and day or hour."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, astuple
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from loraplex_server.api.document.openapi import answers
from loraplex_server.api.errors import ApiError, bad_request
from loraplex_server.api.forms.responses import json_response
from loraplex_server.api.record import record_of
from loraplex_server.api.services import services_of
from loraplex_server.tenants.grant import DEFAULT
from loraplex_server.tenants.moment import moment
from loraplex_server.tenants.usage import DAY_S, Amount, Slot
from loraplex_server.tenants.usage_book import Question

router = APIRouter()

MOST = 10_000
EXAMPLE = {
    "object": "usage",
    "start": 1_789_948_800,
    "tenant": "acme",
    "key": None,
    "adapter": "acme-sql",
    "requests": 120,
    "prompt_tokens": 48_210,
    "cached_tokens": 31_000,
    "output_tokens": 9_004,
}


@router.get(
    "/v1/usage",
    responses=answers({200: ("Slots in the order of time.", {"object": "list", "data": [EXAMPLE], "next": None})}),
)
async def get_usage(
    request: Request,
    since: Annotated[str | None, Query(description="Date or Unix time; default: 30 days ago.")] = None,
    until: Annotated[str | None, Query(description="Date or Unix time, outside; default: now.")] = None,
    by: Annotated[Literal["day", "hour"], Query(description="Days begin at midnight in UTC.")] = "day",
    by_key: Annotated[bool, Query(description="Each key apart, by its id.")] = False,
    tenant: Annotated[str | None, Query(description="For admins: only this one's.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many slots.")] = 1000,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
) -> Response:
    """Requests and tokens; an admin sees all tenants', a key its own tenant's."""
    now = int(time.time())
    question = Question(
        since=_moment(since, "since", now // DAY_S * DAY_S - 30 * DAY_S),
        until=_moment(until, "until", now + 1),
        tenant=_whose(request, tenant),
        by=by,
        by_key=by_key,
        after=_slot(after),
        limit=limit,
    )
    found = await asyncio.to_thread(services_of(request).tenancy.usage.read, question)
    following = "/".join(map(str, astuple(found[-1][0]))) if len(found) == limit else None
    return json_response({"object": "list", "data": [_row(*each) for each in found], "next": following})


def _whose(request: Request, tenant: str | None) -> str | None:
    """None for all."""
    caller = record_of(request).caller
    if caller.admin:
        return tenant
    own = caller.tenant or DEFAULT
    if tenant not in (None, own):
        message = "This key sees its own tenant's usage; an admin's key sees all"
        raise ApiError(403, message, param="tenant", code="not_admin", outcome="unauthorized")
    return own


def _moment(text: str | None, name: str, default: int) -> int:
    try:
        return default if text is None else moment(text)
    except ValueError as error:
        raise bad_request(f"'{name}': {error}", param=name) from None


def _slot(text: str | None) -> Slot | None:
    if text is None:
        return None
    start, _, rest = text.partition("/")
    tenant, _, rest = rest.partition("/")
    key, mark, adapter = rest.partition("/")
    if not mark or not (start.isascii() and start.isdigit() and len(start) < 13):
        raise bad_request("'after': is no `next` of a page before", param="after")
    return Slot(int(start), tenant, key, adapter)


def _row(slot: Slot, amount: Amount) -> dict[str, Any]:
    return {"object": "usage", **asdict(slot), "key": slot.key or None, **asdict(amount)}
