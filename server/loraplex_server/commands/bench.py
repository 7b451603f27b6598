"""`loraplex bench ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from loraplex_server.settings import SettingsError
from loraplex_server.settings.errors import did_you_mean

COMMANDS = {
    "serve": "load on a running OpenAI-compatible server, this one or another",
    "engine": "the same load on an engine in this process, without HTTP, beside what the machine allows",
}


def bench(arguments: Sequence[str]) -> int:
    """Run one of the sub-commands; returns the exit code.

    Raises:
        SettingsError: there is no such sub-command, or a setting of it is bad.
    """
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", ())
    if name in ("-h", "--help"):
        sys.stdout.write(_usage())
        return 0
    if name == "serve":
        from loraplex_server.commands.bench_serve import bench_serve  # numpy and uvloop are not for --help

        return bench_serve(rest)
    if name == "engine":
        from loraplex_server.commands.bench_engine import bench_engine  # torch and transformers take seconds

        return bench_engine(rest)
    known = " or ".join(COMMANDS)
    raise SettingsError([f"unknown command {name!r}{did_you_mean(name, COMMANDS)}" if name else f"say {known}"])


def _usage() -> str:
    lines = [f"  {name:<8} {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        ["usage: loraplex bench COMMAND ...", "", "Measure throughput and latency.", "", "Commands:", *lines, ""]
    )
