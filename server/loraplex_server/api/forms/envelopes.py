"""The body of an error, as the clients of each API expect it; which API was asked, the path says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from loraplex_server.api.errors import ApiError

# router/src/infer.rs of LoRAX.
_LORAX_TYPES: Mapping[int, str] = {424: "generation", 429: "overloaded"}
_ADAPTER_FAULTS = frozenset({"model_not_found", "adapter_refused", "source_not_found", "source_not_allowed"})

Envelope = Callable[[ApiError], dict[str, Any]]

# https://platform.claude.com/docs/en/api/errors
_ANTHROPIC_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_ANTHROPIC_STATUSES: Mapping[int, int] = {408: 504, 503: 529}


def anthropic_envelope(error: ApiError) -> dict[str, Any]:
    """Anthropic's; what has no word among its types is one of the request where the status says so, else ours."""
    fallback = "invalid_request_error" if error.status < 500 else "api_error"
    kind = _ANTHROPIC_TYPES.get(error.status, fallback)
    return {"type": "error", "error": {"type": kind, "message": error.message}}


def lorax_envelope(error: ApiError) -> dict[str, Any]:
    """LoRAX's and TGI's, whose clients choose their exception by `error_type`."""
    status = _lorax_status(error)
    kind = _LORAX_TYPES.get(status, "validation" if status < 500 else "generation")
    return {"error": error.message, "error_type": kind}


def _lorax_status(error: ApiError) -> int:
    """A bad request is a 422 there, an adapter that cannot be had or served a failed dependency."""
    if error.code in _ADAPTER_FAULTS:
        return 424
    if error.status == 503:
        return 429
    return 422 if error.status == 400 else error.status


# By the beginning of the path, longest first.
_ENVELOPES: tuple[tuple[str, Envelope], ...] = (
    ("/v1/messages", anthropic_envelope),
    ("/generate", lorax_envelope),
    ("/embed", lorax_envelope),
)


def status_for(path: str, error: ApiError) -> int:
    """The status that the clients of the API at this path know: overload and time have others at Anthropic's, and bad
    requests and adapters at LoRAX's."""
    envelope = envelope_for(path)
    if envelope is lorax_envelope:
        return _lorax_status(error)
    own = _ANTHROPIC_STATUSES if envelope is anthropic_envelope else {}
    return own.get(error.status, error.status)


def envelope_for(path: str) -> Envelope:
    """The envelope of the API that has this path: OpenAI's where no other has it."""
    if path == "/":
        return lorax_envelope
    for prefix, envelope in _ENVELOPES:
        if path.startswith(prefix):
            return envelope
    return ApiError.envelope
