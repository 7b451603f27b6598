"""The application, as `serve run` and a RayService name it: loraplex_server.ray:app."""

from __future__ import annotations

import logging
from typing import Any

from ray import serve

from loraplex_server.ray.arguments import read_arguments
from loraplex_server.ray.ingress import Ingress
from loraplex_server.ray.replica import Replica
from loraplex_server.ray.resources import replica_options

logger = logging.getLogger(__name__)

# Each stream that is open holds one of these; the ingress does nothing but pass bytes on.
INGRESS_REQUESTS = 1000
INGRESS_QUEUE = 10_000


def app(args: dict[str, Any]) -> serve.Application:
    """Engines behind an ingress, to be deployed by Ray Serve.

    Args:
        args: settings of `loraplex serve` by name, with `adapters_per_replica` and `demo` beside.

    Raises:
        SettingsError: with a line for each that is misspelt, bad, or means nothing here.
    """
    arguments = read_arguments(args)
    if arguments.ignored:
        logger.warning("Ray Serve has no use for %s of the environment", ", ".join(arguments.ignored))
    settings = arguments.settings
    engines = serve.deployment(name="Engine", **replica_options(settings))(Replica)
    ingress = serve.deployment(
        name="Ingress",
        max_ongoing_requests=INGRESS_REQUESTS,
        max_queued_requests=INGRESS_QUEUE,
        graceful_shutdown_timeout_s=settings.shutdown_timeout,
        graceful_shutdown_wait_loop_s=0.5,
    )(Ingress)
    replicas = engines.bind(settings, arguments.adapters_per_replica)
    return ingress.bind(replicas, settings.base_names, settings.max_body_size)
