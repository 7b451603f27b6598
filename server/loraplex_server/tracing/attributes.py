"""What a span says of its request: OpenTelemetry's names for HTTP servers and for generative AI, and a few of ours.

The conventions for generative AI are those of version 1.41, the last in the common document:
https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/gen-ai/gen-ai-spans.md
No text that somebody wrote is among the attributes: neither prompts nor answers, nor stop strings.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import Scope

from loraplex_server.api.asked import Asked
from loraplex_server.api.record import RequestRecord

Value = str | bool | int | float | Sequence[str]
PROVIDER = "loraplex"


def server_attributes(record: RequestRecord, scope: Scope) -> dict[str, Value]:
    """Of the span of a whole request."""
    host, port = (scope.get("server") or (None, None))[:2]
    found: dict[str, Value | None] = {
        "http.request.method": record.method,
        "http.response.status_code": record.status,
        "http.route": route_of(scope),
        "url.path": record.endpoint,
        "url.scheme": scope.get("scheme"),
        "server.address": host,
        "server.port": port if host is not None else None,
        "loraplex.request_id": record.request_id,
        "loraplex.outcome": record.final_outcome,
        "loraplex.tenant": record.caller.tenant or None,
        "loraplex.batch.id": record.batch,
        "loraplex.adapter.names": record.adapters or None,
    }
    if record.asked is not None:
        found |= _asked(record, record.asked)
    return {name: value for name, value in found.items() if value is not None}


def _asked(record: RequestRecord, asked: Asked) -> dict[str, Value | None]:
    sampling = asked.sampling
    wanted: dict[str, Value | None] = {
        "gen_ai.operation.name": asked.operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": record.model,
        "gen_ai.response.model": record.model,
        "gen_ai.response.id": asked.response_id,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
    }
    if asked.operation == "embeddings":
        return wanted
    return wanted | {
        "gen_ai.request.max_tokens": sampling.max_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.top_k": sampling.top_k or None,
        "gen_ai.request.seed": sampling.seed,
        "gen_ai.request.frequency_penalty": sampling.frequency_penalty or None,
        "gen_ai.request.presence_penalty": sampling.presence_penalty or None,
        "gen_ai.request.choice.count": asked.answers if asked.answers != 1 else None,
        "gen_ai.request.stream": record.stream or None,
        "gen_ai.response.finish_reasons": record.finish_reasons or None,
        "gen_ai.response.time_to_first_chunk": record.ttft_s,
        "gen_ai.usage.output_tokens": record.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
    }


def route_of(scope: Scope) -> str | None:
    """The path with its variable parts as names, where one was found for the request."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


def span_name(record: RequestRecord, scope: Scope) -> str:
    """`chat my-adapter`; of what asks the model for nothing, `GET /v1/models`."""
    if record.asked is not None and record.model:
        return f"{record.asked.operation} {record.model}"
    route = route_of(scope)
    return f"{record.method} {route}" if route else record.method
