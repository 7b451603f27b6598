"""Until every script imports it from there."""

from loraplex_server.bench import load

__path__ = load.__path__
