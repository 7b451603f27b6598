"""The app of a replica, with what is asked of it. To be imported where torch is hidden: it brings transformers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.datastructures import Headers

from loraplex_adapters.errors import UnknownAdapterError
from loraplex_server.api.process.own_app import own_app
from loraplex_server.api.services import Services
from loraplex_server.ray.capacity import adapters_that_fit
from loraplex_server.ray.question import Question
from loraplex_server.ray.refusals import refuse_what_is_apart
from loraplex_server.settings import ServeSettings


@dataclass(frozen=True)
class Served:
    """Args: app: over its own engine. services: of the app. fitting: adapters, about, in the engine's memory."""

    app: FastAPI
    services: Services
    fitting: int

    @property
    def healthy(self) -> bool:
        """Whether the engine runs."""
        return self.services.engine.healthy

    def may_have(self, question: Question) -> bool:
        """Whether the adapter is one, and the caller's: names that anybody makes up must not push out others."""
        if not question.adapter:
            return False
        caller = self.services.callers.identify(Headers(raw=list(question.headers)))
        catalog = self.services.catalog
        if caller is None or not caller.may_use(catalog.meaning(question.adapter)):
            return False
        try:
            catalog.canonical(question.adapter)
        except UnknownAdapterError:
            return False
        return True


@contextlib.asynccontextmanager
async def served(settings: ServeSettings) -> AsyncIterator[Served]:
    """The app while the block runs.

    Raises:
        StartError: the model or its tokenizer cannot be served.
    """
    async with own_app(settings) as (app, info):
        refuse_what_is_apart(app)
        services: Services = app.state.services
        memory = info.adapter_memory_bytes * settings.tensor_parallel_size  # each rank has its part of each
        yield Served(app, services, adapters_that_fit(services.catalog, memory))
