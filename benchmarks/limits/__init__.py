"""Until every script imports it from there."""

from loraplex_server.bench import limits

__path__ = limits.__path__
