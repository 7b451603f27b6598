"""The options of when an engine is taken for lost, and of how a server ends."""

from __future__ import annotations

from loraplex_server.engine.config import EngineConfig
from loraplex_server.settings.option import option
from loraplex_server.settings.told import Told

GROUP = "Health and shutdown"


class LifeOptions(Told):
    """A part of ServeSettings."""

    engine_step_timeout: float = option(
        EngineConfig(model="").engine_step_timeout,
        GROUP,
        "SECONDS",
        "an engine whose step takes longer, or whose process stands still, is killed and started again; 0: never",
        ge=0,
        allow_inf_nan=False,
    )
    shutdown_delay: float = option(
        0.0,
        GROUP,
        "SECONDS",
        "after SIGTERM, say 503 at /ready but go on serving for this long, until routers have seen it",
        ge=0,
        allow_inf_nan=False,
    )
    shutdown_timeout: float = option(
        60.0,
        GROUP,
        "SECONDS",
        "after SIGTERM and the delay, let requests in flight finish for this long",
        ge=0,
        allow_inf_nan=False,
    )
