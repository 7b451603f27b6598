"""What Ray says when a request did not reach a replica, or lost it, as an answer of the API that was asked."""

from __future__ import annotations

import logging

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError

from loraplex_server.api.errors import RETRY_AFTER_S, ApiError, internal_error, unavailable
from loraplex_server.api.forms.envelopes import envelope_for
from loraplex_server.api.forms.event import event

logger = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"


def failure_of(error: Exception, request_id: str) -> ApiError:
    """The answer to an error of Ray's; anything unknown is logged, and says where."""
    if isinstance(error, BackPressureError):
        headers = {"retry-after": str(RETRY_AFTER_S)}
        message = "Too many requests wait for a replica; try again later"
        return ApiError(429, message, type="rate_limit_error", code="queue_full", headers=headers, outcome="queue_full")
    if isinstance(error, RayActorError | ReplicaUnavailableError):
        logger.warning("request %s lost its replica: %s", request_id, error)
        return unavailable("The replica ended before the request was finished; try again", "replica_lost")
    if isinstance(error, DeploymentUnavailableError):
        return unavailable("No replica can be had now; try again in a moment", "no_replica")
    logger.error("request %s failed", request_id, exc_info=error)
    return internal_error(request_id)


def last_event(path: str, error: ApiError) -> bytes:
    """The end of a stream of server-sent events that lost its replica, as the clients of each API read it."""
    if path.startswith("/v1/responses"):
        body = {"type": "error", "code": str(error.code), "message": error.message, "param": None}
        return event(body, "error")
    if path.startswith("/v1/messages"):
        return event(envelope_for(path)(error), "error")
    done = DONE if path.startswith("/v1/") else b""
    return event(envelope_for(path)(error)) + done
