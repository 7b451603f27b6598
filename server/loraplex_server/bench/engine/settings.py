"""The command line of a load on an engine: the load's options, and those of `loraplex serve` that an engine has."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from loraplex_server.bench.load.arguments import engine_parser
from loraplex_server.engine.config import EngineConfig
from loraplex_server.settings import ServeSettings, SettingsError, load_settings
from loraplex_server.settings.parser import CommandLine

SUMMARY = "The load of `loraplex bench serve` on an engine in this process, beside what the machine allows."
# Of the settings that are not the engine's own; the rest are of HTTP and of adapters that come over it.
ALSO = frozenset({"model", "adapters", "config"})


def read_settings(prog: str, arguments: Sequence[str]) -> tuple[argparse.Namespace, ServeSettings]:
    """The load's options, and the engine's.

    Raises:
        SettingsError: one is unknown, bad, or means nothing without a server.
        SystemExit: help was asked for and printed, or an option of the load is bad.
    """
    given, rest = engine_parser(prog, SUMMARY).parse_known_args(arguments)
    command_line = CommandLine(prog, SUMMARY)
    told = command_line.read(rest)
    allowed = ALSO | set(EngineConfig.__struct_fields__)
    if foreign := sorted(name for name in told if name not in allowed):
        raise SettingsError([f"--{name.replace('_', '-')} means nothing without a server" for name in foreign])
    # Figures go to standard error beside the log, whose lines at the default level are a server's.
    return given, load_settings(command_line, rest, defaults={"log_level": "warning"})
