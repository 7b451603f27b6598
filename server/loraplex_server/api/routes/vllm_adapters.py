"""vLLM's routes for adapters, with its bodies, texts and status codes, over the same catalogue.

What differs: the same name from the same source again is a success, for clients retry; an adapter that cannot be served
is a 400, where vLLM answers 500.
"""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from loraplex_adapters.errors import (
    AdapterConflictError,
    AdapterNameError,
    SourceNotFoundError,
    UnknownAdapterError,
)
from loraplex_server.api.access.audit import audited
from loraplex_server.api.access.keys import require_admin
from loraplex_server.api.answers.departure import unless_gone
from loraplex_server.api.body import read_body
from loraplex_server.api.document.openapi import answers, json_body, said_as
from loraplex_server.api.errors import ApiError
from loraplex_server.api.schemas.adapters import AddAdapter, LoadLoraAdapter, UnloadLoraAdapter
from loraplex_server.api.services import services_of

router = APIRouter()


@router.post(
    "/v1/load_lora_adapter",
    openapi_extra=json_body(LoadLoraAdapter),
    response_class=PlainTextResponse,
    responses={
        200: said_as("text/plain", "It is there.", "Success: LoRA adapter 'sql' added successfully."),
        **answers({400: "It cannot be served, or not so.", 404: "No adapter."}),
    },
)
async def load_lora_adapter(request: Request) -> Response:
    """Add an adapter, and load it."""
    services = services_of(request)
    with audited(request, "adapter.add") as deed:
        require_admin(request)
        body = await read_body(request, LoadLoraAdapter, services.settings.max_body_size)
        name = body.lora_name
        if not name or not body.lora_path:
            raise _invalid("Both 'lora_name' and 'lora_path' must be provided.")
        if services.names.is_base(name):
            raise _invalid(f"The lora adapter '{name}' conflicts with a served base model.")
        base = body.base_model_name
        if base and base != services.settings.model and not services.names.is_base(base):
            raise _invalid(f"The lora adapter '{name}' is for '{base}', which this server does not serve.")
        deed.about(name, source=body.lora_path)
        wish = AddAdapter(name=name, source=body.lora_path, replace=body.load_inplace)
        try:
            await unless_gone(request.receive, services.admin.add(wish))
        except AdapterConflictError as error:
            known = services.admin.find(name)
            if known is None or known.kind != "registered":
                raise _invalid(str(error)) from error
            raise _invalid(
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set "
                "'load_inplace' to True."
            ) from error
        except AdapterNameError as error:
            raise _invalid(str(error)) from error
        except SourceNotFoundError as error:
            raise _not_found(str(error)) from error
    return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")


@router.post(
    "/v1/unload_lora_adapter",
    openapi_extra=json_body(UnloadLoraAdapter),
    response_class=PlainTextResponse,
    responses={
        200: said_as("text/plain", "It is gone.", "Success: LoRA adapter 'sql' removed successfully."),
        **answers({400: "No name, or it cannot be removed.", 404: "No adapter."}),
    },
)
async def unload_lora_adapter(request: Request) -> Response:
    """Remove an adapter; its memory is free after the last request that it answers."""
    services = services_of(request)
    with audited(request, "adapter.remove") as deed:
        require_admin(request)
        body = await read_body(request, UnloadLoraAdapter, services.settings.max_body_size)
        if not body.lora_name:
            raise _invalid("'lora_name' needs to be provided to unload a LoRA adapter.")
        deed.about(body.lora_name)
        try:
            await services.admin.remove(body.lora_name)
        except UnknownAdapterError as error:
            raise _not_found(f"The lora adapter '{body.lora_name}' cannot be found.") from error
        except AdapterConflictError as error:
            raise _invalid(str(error)) from error
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")


def _invalid(message: str) -> ApiError:
    return ApiError(400, message, type="InvalidUserInput", code=400)


def _not_found(message: str) -> ApiError:
    return ApiError(404, message, type="NotFoundError", code=404, outcome="not_found")
