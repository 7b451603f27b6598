"""Who a request is for, and how that one reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request

from loraplex_server.api.access.visible import visible_to
from loraplex_server.api.adapters.holds import holds_of
from loraplex_server.api.adapters.model_names import Target
from loraplex_server.api.answers.departure import unless_gone
from loraplex_server.api.answers.parameters import ModelLimits
from loraplex_server.api.errors import ApiError, bad_request
from loraplex_server.api.record import record_of
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.schemas.sampling import AdapterWeight, SamplingFields
from loraplex_server.api.services import services_of
from loraplex_server.engine.room import queue_of


@dataclass(frozen=True)
class Addressee:
    """Args: target: what answers. renderer: its tokenizer and template. limits: what it can take."""

    target: Target
    renderer: Renderer
    limits: ModelLimits


async def addressee_of_body(request: Request, body: SamplingFields) -> Addressee:
    """Of a completion or a chat, whose adapters may be numbers. Raises as addressee_of does."""
    if not body.lora:
        return await addressee_of(request, body.model, body.adapters)
    services = services_of(request)
    if not services.names.is_base(body.model):
        # Also where all scales are zero and none is added: the model's own would answer nevertheless.
        raise bad_request("'lora': adapters are added to the base: 'model' must name it", param="lora")
    return await addressee_of(request, body.model, services.lora_numbers.adapters(visible_to(request), body.lora))


async def addressee_of(request: Request, model: str, adapters: Sequence[AdapterWeight] = ()) -> Addressee:
    """Find out; an adapter that is far away is fetched meanwhile, and stays on the disk until the request ends.

    Raises:
        ApiError: there is none of that name for the caller, its files are unusable, or the model is still being loaded.
        AdapterError: it cannot be had.
        ClientGoneError: the client did not wait.
    """
    services = services_of(request)
    resolving = services.names.resolve(model, adapters, holds_of(request), record_of(request).caller)
    target = await unless_gone(request.receive, resolving)
    record_of(request).fetches = holds_of(request).waited
    try:
        renderer = await services.renderers.of([use.source for use in target.adapters])
    except ApiError as error:
        if len(target.adapters) == 1:
            services.outcomes.failed(target.adapter_names[0], error.message)
        raise
    tenant, settings = record_of(request).caller.tenant, services.settings
    limits = ModelLimits(
        services.engine_info(),
        renderer.end_tokens,
        queue_of(tenant, settings.max_queued_requests, settings.max_queued_per_tenant),
        own_vocabulary=bool(target.adapters),
    )
    return Addressee(target, renderer, limits)
