"""Ray Serve: replicas of the whole server, each over an engine of its own, and requests sent to where adapters are."""

from loraplex_server.ray.build import app

__all__ = ["app"]
