"""The options of what a server tells of itself: logs, metrics, traces."""

from __future__ import annotations

from typing import Literal

from loraplex_server.settings.option import option
from loraplex_server.settings.told import Told
from loraplex_server.settings.values import TracesEndpoint

Level = Literal["debug", "info", "warning", "error"]
GROUP = "Logs, metrics and traces"


class LogOptions(Told):
    """A part of ServeSettings."""

    request_log: bool = option(True, GROUP, "", "one line for each request; without prompts and answers")
    log_prompts: bool = option(
        False, GROUP, "", "prompts and answers in these lines: whoever reads the log reads what people wrote"
    )
    log_prompts_length: int = option(
        1000, GROUP, "CHARACTERS", "of each prompt and each answer that is logged", gt=0, le=1_000_000
    )
    log_level: Level = option("info", GROUP, "", "least severity")
    engine_log_level: Level | None = option(None, GROUP, "", "the same, of the engine's process (default: --log-level)")
    log_format: Literal["json", "console"] = option("console", GROUP, "", "one JSON object a line, or text")
    metrics_max_adapters: int = option(
        100, GROUP, "N", "adapters with metrics of their own; the rest count as 'other'", ge=0
    )
    metrics_max_tenants: int = option(
        100, GROUP, "N", "tenants with metrics of their own; the rest count as 'other'", ge=0
    )
    otlp_traces_endpoint: TracesEndpoint | None = option(
        None,
        GROUP,
        "URL",
        "send traces there by OTLP over HTTP: http://HOST:4318/v1/traces; needs the extra `tracing`",
    )
