"""/v1/files: what batches read, and what they wrote."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from loraplex_server.api.cursors import listing, page_of
from loraplex_server.api.document.openapi import answers, said_as
from loraplex_server.api.errors import ApiError, bad_request
from loraplex_server.api.forms.responses import json_response
from loraplex_server.api.process.batch_work import OFF, batch_work_of
from loraplex_server.api.process.upload import Upload, receive_upload
from loraplex_server.api.record import record_of
from loraplex_server.api.schemas.batches import LONGEST_LIFE_S, SHORTEST_LIFE_S
from loraplex_server.batch.state.files import LIFETIME_S, StoredFile, new_file_id
from loraplex_server.batch.state.page import Cursor
from loraplex_server.batch.state.state import State

router = APIRouter()
MOST = 10_000
_LIFE = "expires_after[seconds]"
FIELDS = frozenset({"purpose", "expires_after[anchor]", _LIFE})

EXAMPLE = {
    "id": "file-8f3b5c",
    "object": "file",
    "bytes": 140,
    "created_at": 1_790_000_000,
    "expires_at": 1_792_592_000,
    "filename": "requests.jsonl",
    "purpose": "batch",
    "status": "processed",
    "status_details": None,
}
CONTENT = (
    '{"id": "batch_req_1", "custom_id": "first", "response": {"status_code": 200, "request_id": "5c0d", "body": {}}, '
    '"error": null}\n'
)
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "JSON lines."},
                        "purpose": {"type": "string", "enum": ["batch"]},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        _LIFE: {"type": "integer", "minimum": SHORTEST_LIFE_S, "maximum": LONGEST_LIFE_S},
                    },
                }
            }
        },
    }
}
Purpose = Annotated[str | None, Query(max_length=64, description="Only files with this purpose.")]
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many.")]
After = Annotated[str | None, Query(max_length=255, description="Id of the last one of the page before.")]


@router.post(
    "/v1/files",
    openapi_extra=FORM,
    responses=answers(
        {
            200: ("The file.", EXAMPLE),
            400: "It is no form with a file, or for no batch.",
            413: "The file is too large.",
            507: "The files of this server take as much room as they may.",
            **OFF,
        }
    ),
)
async def upload_file(request: Request) -> Response:
    """Upload a file of requests for a batch: one JSON object a line, with custom_id, method, url and body."""
    state = batch_work_of(request).state
    id, taken = new_file_id(), 0
    path = state.files.upload_path(id)

    def take(nbytes: int) -> None:
        nonlocal taken
        state.files.space.take(nbytes)
        taken += nbytes

    try:
        upload = await receive_upload(request, path, state.limits.file_size, take)
        file = _as_file(id, record_of(request).caller.tenant, upload)
        await asyncio.to_thread(state.files.add_upload, file)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        state.files.space.give(taken)
        if isinstance(error, OSError):
            raise ApiError(507, str(error.strerror), type="server_error", code="disk_full", outcome="error") from error
        raise
    return json_response(file.view())


@router.get(
    "/v1/files",
    responses=answers({200: ("The files.", page_of(EXAMPLE)), **OFF}),
)
async def list_files(
    request: Request,
    purpose: Purpose = None,
    limit: Limit = MOST,
    order: Annotated[Literal["asc", "desc"], Query(description="By when they were made.")] = "desc",
    after: After = None,
) -> Response:
    """The caller's files, those that batches wrote among them."""
    state, tenant = _mine(request)
    cursor = Cursor(after, limit, order == "desc")
    return await listing(lambda: state.files.page(tenant, purpose, cursor), lambda file: file.view())


@router.get("/v1/files/{file_id}", responses=answers({200: ("The file.", EXAMPLE), 404: "There is none.", **OFF}))
async def get_file(request: Request, file_id: str) -> Response:
    """What is known of a file."""
    return json_response((await _find(request, file_id)).view())


@router.get(
    "/v1/files/{file_id}/content",
    response_class=Response,
    responses={200: said_as("application/jsonl", "Its bytes.", CONTENT), **answers({404: "There is none.", **OFF})},
)
async def get_file_content(request: Request, file_id: str) -> Response:
    """The bytes of a file."""
    file = await _find(request, file_id)
    state, _ = _mine(request)
    return FileResponse(state.files.path(file.id), media_type="application/jsonl", filename=file.filename or file.id)


@router.delete(
    "/v1/files/{file_id}",
    responses=answers(
        {
            200: ("It is gone.", {"id": EXAMPLE["id"], "object": "file", "deleted": True}),
            404: "There is none.",
            409: "A batch that has not ended reads it.",
            **OFF,
        }
    ),
)
async def delete_file(request: Request, file_id: str) -> Response:
    """Remove a file."""
    work = batch_work_of(request)
    file = await _find(request, file_id)
    if file.id in work.worker.inputs():
        raise ApiError(409, "A batch that has not ended reads this file; cancel it first", code="file_in_use")
    await asyncio.to_thread(work.state.files.remove, file)
    return json_response({"id": file.id, "object": "file", "deleted": True})


def _mine(request: Request) -> tuple[State, str]:
    return batch_work_of(request).state, record_of(request).caller.tenant


async def _find(request: Request, id: str) -> StoredFile:
    state, tenant = _mine(request)
    file = await asyncio.to_thread(state.files.find, tenant, id)
    if file is None:
        raise ApiError(
            404, f"There is no file '{id[:200]}'", param="file_id", code="file_not_found", outcome="not_found"
        )
    return file


def _as_file(id: str, tenant: str, upload: Upload) -> StoredFile:
    """Raises ApiError: the form is not for a batch."""
    fields: dict[str, Any] = upload.fields
    if unknown := sorted(fields.keys() - FIELDS):
        raise bad_request(f"Unknown field '{unknown[0][:200]}'", param=unknown[0][:200], code="unknown_parameter")
    if upload.filename is None:
        raise bad_request("'file' is missing", param="file")
    if fields.get("purpose") != "batch":
        raise bad_request("'purpose' must be 'batch': this server takes files for nothing else", param="purpose")
    if fields.get("expires_after[anchor]", "created_at") != "created_at":
        raise bad_request("'expires_after[anchor]' must be 'created_at'", param="expires_after")
    given, now = fields.get(_LIFE), int(time.time())
    if given is not None and not (given.isascii() and given.isdigit() and len(given) < 10):
        raise bad_request(f"'{_LIFE}' must be a whole number", param="expires_after")
    seconds = LIFETIME_S if given is None else int(given)
    if not SHORTEST_LIFE_S <= seconds <= LONGEST_LIFE_S:
        message = f"'{_LIFE}' must be from {SHORTEST_LIFE_S} to {LONGEST_LIFE_S}"
        raise bad_request(message, param="expires_after")
    return StoredFile(id, tenant, upload.filename, "batch", upload.size, now, now + seconds)
