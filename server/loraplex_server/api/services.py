"""What the routes work with; one set for each app."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from fastapi import Request

from loraplex_adapters.catalog import Catalog
from loraplex_server.api.access.callers import Callers
from loraplex_server.api.access.tenancy import Tenancy
from loraplex_server.api.adapters.adapter_admin import AdapterAdmin
from loraplex_server.api.adapters.adapter_outcomes import AdapterOutcomes
from loraplex_server.api.adapters.lora_numbers import LoraNumbers
from loraplex_server.api.adapters.model_names import ModelNames
from loraplex_server.api.adapters.pin_keeper import PinKeeper
from loraplex_server.api.errors import unavailable
from loraplex_server.api.forms.response_store import ResponseStore
from loraplex_server.api.process.drain import Drain
from loraplex_server.api.rendering.renderers import Renderers
from loraplex_server.batch.work import BatchWork
from loraplex_server.engine.interface import Engine
from loraplex_server.engine.messages import EngineInfo
from loraplex_server.metrics import Metrics
from loraplex_server.settings import ServeSettings


@dataclass(frozen=True)
class Services:
    """Args: as create_app's."""

    settings: ServeSettings
    engine: Engine
    renderers: Renderers
    catalog: Catalog
    metrics: Metrics
    names: ModelNames
    drain: Drain
    outcomes: AdapterOutcomes
    keeper: PinKeeper
    admin: AdapterAdmin
    callers: Callers
    tenancy: Tenancy
    responses: ResponseStore
    lora_numbers: LoraNumbers = field(default_factory=LoraNumbers)
    batch_work: BatchWork | None = None  # where the server keeps files and batches
    started_at: int = field(default_factory=lambda: int(time.time()))

    def engine_info(self) -> EngineInfo:
        """Facts of the engine.

        Raises:
            ApiError: 503 while it loads.
        """
        info = self.engine.info
        if info is None:
            raise unavailable("The model is still being loaded; try again in a moment", "loading")
        return info


def services_of(request: Request) -> Services:
    """Those of the app that serves the request."""
    services = request.app.state.services
    if not isinstance(services, Services):
        raise TypeError("the app was not made by create_app")
    return services
