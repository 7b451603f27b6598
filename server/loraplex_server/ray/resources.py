"""What Ray books for each replica, and how many requests it sends there."""

from __future__ import annotations

import math
from typing import Any

from loraplex_server.ray.arguments import WHERE
from loraplex_server.settings import ServeSettings, SettingsError

# Of the seats, how many more requests may be at a replica: for those that take none, such as GET /v1/models, and so
# that the engine always finds a next one.
SPARE = 0.25
# After the last answer: for the engine to end.
LAST_WORDS_S = 15.0


def replica_options(settings: ServeSettings) -> dict[str, Any]:
    """Options of the deployment of engines, as `serve.deployment` takes them; a config's `deployments` override them.

    Raises:
        SettingsError: it is left open what a replica takes.
    """
    seats = settings.max_num_seqs
    return {
        "ray_actor_options": _resources(settings),
        # What does not fit waits at the ingress, where it goes to whichever replica has room first.
        "max_ongoing_requests": seats + max(8, math.ceil(seats * SPARE)),
        # Ray counts a request as waiting until a replica has taken it: a burst that fits must not be refused for that.
        "max_queued_requests": max(settings.max_queued_requests, seats),
        "graceful_shutdown_timeout_s": settings.shutdown_timeout + LAST_WORDS_S,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": 5.0,
        "health_check_timeout_s": 30.0,
    }


def _resources(settings: ServeSettings) -> dict[str, float]:
    """With the model on GPUs: a core for the process that speaks, and one for each rank's."""
    if settings.device == "auto":
        raise SettingsError([f"device in {WHERE}: say cuda or cpu: Ray books a GPU for a replica, or gives it none"])
    ranks = settings.tensor_parallel_size
    if settings.device == "cuda":
        return {"num_cpus": settings.threads or 1 + ranks, "num_gpus": ranks}
    if settings.threads is None:
        raise SettingsError([f"threads in {WHERE}: say how many cores each replica takes on a CPU: Ray books them"])
    return {"num_cpus": settings.threads * ranks}
