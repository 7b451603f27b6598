"""/v1/batches: files of requests, answered behind everything else."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.routing import Match

from loraplex_server.api.body import read_body
from loraplex_server.api.cursors import listing, page_of
from loraplex_server.api.document.openapi import answers, json_body
from loraplex_server.api.errors import ApiError, bad_request
from loraplex_server.api.forms.responses import json_response
from loraplex_server.api.process.batch_work import OFF, batch_work_of
from loraplex_server.api.record import record_of
from loraplex_server.api.schemas.batches import CreateBatch
from loraplex_server.api.services import services_of
from loraplex_server.batch.state.batches import WINDOW_S, StoredBatch, new_batch_id
from loraplex_server.batch.state.files import LIFETIME_S, new_file_id
from loraplex_server.batch.state.page import Cursor
from loraplex_server.batch.work import BatchWork

router = APIRouter()
MOST = 100
MOST_UNFINISHED = 100  # of one tenant

EXAMPLE = StoredBatch(
    id="batch_5d7e",
    tenant="",
    key_id="",
    endpoint="/v1/chat/completions",
    input_file_id="file-8f3b5c",
    created_at=1_790_000_000,
    expires_at=1_790_086_400,
    output_id="",
    error_id="",
    output_lifetime_s=LIFETIME_S,
    metadata={"description": "nightly"},
    status="in_progress",
    total=100,
    in_progress_at=1_790_000_001,
).view()
NONE = {404: "There is none.", **OFF}


@router.post(
    "/v1/batches",
    openapi_extra=json_body(CreateBatch),
    responses=answers(
        {
            200: ("The batch.", EXAMPLE),
            400: "A field is bad, or the input is no file for a batch.",
            429: "Too many batches of this caller have not ended.",
            **OFF,
        }
    ),
)
async def create_batch(request: Request) -> Response:
    """Answer all requests of a file within a day, whenever the engine has room; lines may name different adapters."""
    work, services, caller = batch_work_of(request), services_of(request), record_of(request).caller
    body = await read_body(request, CreateBatch, services.settings.max_body_size)
    if await asyncio.to_thread(work.state.files.find, caller.tenant, body.input_file_id) is None:
        message = f"There is no file '{body.input_file_id[:200]}'"
        raise bad_request(message, param="input_file_id", code="file_not_found")
    if not _has_route(request, body.endpoint):
        raise bad_request(f"This server has no {body.endpoint}", param="endpoint", code="unsupported_endpoint")
    unfinished = [each for each in work.worker.executions.values() if each.batch.tenant == caller.tenant]
    if len(unfinished) >= MOST_UNFINISHED:
        message = f"{MOST_UNFINISHED} batches have not ended; wait for one of them"
        raise ApiError(429, message, type="rate_limit_error", code="too_many_batches", headers={"retry-after": "60"})
    now = int(time.time())
    batch = StoredBatch(
        id=new_batch_id(),
        tenant=caller.tenant,
        key_id=caller.key_id,
        endpoint=body.endpoint,
        input_file_id=body.input_file_id,
        created_at=now,
        expires_at=now + WINDOW_S,
        output_id=new_file_id(),
        error_id=new_file_id(),
        output_lifetime_s=body.output_expires_after.seconds if body.output_expires_after else LIFETIME_S,
        metadata=body.metadata,
    )
    await asyncio.to_thread(work.state.batches.add, batch)
    work.worker.begin(batch)
    return json_response(batch.view())


@router.get(
    "/v1/batches",
    responses=answers({200: ("The batches.", page_of(EXAMPLE)), **OFF}),
)
async def list_batches(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many.")] = 20,
    after: Annotated[str | None, Query(max_length=255, description="Id of the last one of the page before.")] = None,
) -> Response:
    """The caller's batches, newest first."""
    work, tenant = batch_work_of(request), record_of(request).caller.tenant
    return await listing(
        lambda: work.state.batches.page(tenant, Cursor(after, limit)), lambda batch: _view(work, batch)
    )


@router.get("/v1/batches/{batch_id}", responses=answers({200: ("The batch.", EXAMPLE), **NONE}))
async def get_batch(request: Request, batch_id: str) -> Response:
    """How far a batch is."""
    return json_response(_view(batch_work_of(request), await _find(request, batch_id)))


@router.post(
    "/v1/batches/{batch_id}/cancel",
    responses=answers(
        {
            200: ("It is being cancelled.", {**EXAMPLE, "status": "cancelling", "cancelling_at": 1_790_000_060}),
            409: "It has ended, or is about to.",
            **NONE,
        }
    ),
)
async def cancel_batch(request: Request, batch_id: str) -> Response:
    """Ask no more of a batch's requests. What has been answered by now is in its files."""
    work = batch_work_of(request)
    batch = await _find(request, batch_id)
    execution = work.worker.executions.get(batch.id)
    if execution is None or not (await execution.cancel() or execution.batch.status == "cancelling"):
        status = batch.status if execution is None else execution.batch.status
        raise ApiError(409, f"Cannot cancel a batch with status '{status}'", code="batch_not_cancellable")
    return json_response(execution.view())


def _has_route(request: Request, path: str) -> bool:
    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)


def _view(work: BatchWork, batch: StoredBatch) -> dict[str, Any]:
    execution = work.worker.executions.get(batch.id)
    return batch.view() if execution is None else execution.view()


async def _find(request: Request, id: str) -> StoredBatch:
    work, tenant = batch_work_of(request), record_of(request).caller.tenant
    batch = await asyncio.to_thread(work.state.batches.find, tenant, id)
    if batch is None:
        message = f"There is no batch '{id[:200]}'"
        raise ApiError(404, message, param="batch_id", code="batch_not_found", outcome="not_found")
    return batch
