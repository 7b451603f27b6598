"""The command line of `loraplex run-batch`: its own arguments, and those of `loraplex serve` that an engine has."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loraplex_server.batch.options import BatchOptions, Remote
from loraplex_server.bench.load.counts import positive
from loraplex_server.commands.client import first_key
from loraplex_server.settings import ServeSettings, SettingsError, load_settings
from loraplex_server.settings.parser import CommandLine

PROG = "loraplex run-batch"
SUMMARY = (
    "Answer a file of requests in OpenAI's batch format: one JSON object a line, with custom_id, method, url and body. "
    "What has its answer in OUT already is not asked again, so that a run that was broken off goes on where it was."
)
SHAPE = "IN.jsonl OUT.jsonl (--model MODEL | --url URL) [options]"
CONCURRENCY = 64
# Of the groups that are about a socket and who may use it, what means something without one.
KEPT = frozenset({"max_body_size"})
FOREIGN = frozenset({"HTTP", "Batches"})
# A line for each request, and what a server says of itself, would hide the progress.
QUIET = {"log_level": "warning", "request_log": False}


def read_arguments(arguments: Sequence[str]) -> BatchOptions:
    """What is asked for.

    Raises:
        SettingsError: an argument is bad or missing.
        SystemExit: help was asked for and printed.
    """
    line = _command_line()
    told = line.read(arguments)
    given = line.others
    source, target = _files(given)
    if given["url"] is None:
        if given["api_key"] is not None:
            raise SettingsError(["--api-key means nothing without --url"])
        return BatchOptions(source, target, load_settings(line, arguments, defaults=QUIET), given["concurrency"])
    if told:
        raise SettingsError([f"--{name.replace('_', '-')} means nothing with --url" for name in told])
    return BatchOptions(source, target, Remote(given["url"], _key(given["api_key"])), given["concurrency"])


def _key(given: str | None) -> str | None:
    """Never the admin's: it would go to whatever server --url names."""
    return given or first_key(os.environ.get("LORAPLEX_API_KEY"))


def _command_line() -> CommandLine:
    fields = ServeSettings.model_fields.items()
    without = {name for name, field in fields if _group(field.json_schema_extra) in FOREIGN} - KEPT
    line = CommandLine(PROG, SUMMARY, model_flag=True, shape=SHAPE, without=without)
    title = "Batch"
    line.add(title, "files", nargs="*", metavar="IN OUT", help="the requests, and where their answers go")
    line.add(title, "-i", "--input-file", metavar="IN", help="the requests; vLLM's spelling")
    line.add(title, "-o", "--output-file", metavar="OUT", help="where their answers go; vLLM's spelling")
    line.add(title, "--url", metavar="URL", help="ask this running server, without an engine of its own")
    line.add(title, "--api-key", metavar="KEY", help="sent to that server (or LORAPLEX_API_KEY)")
    text = f"requests at once (default: as many as the engine has seats for; with --url {CONCURRENCY})"
    line.add(title, "--concurrency", type=positive, metavar="N", help=text)
    return line


def _files(given: Mapping[str, Any]) -> tuple[Path, Path]:
    """Named by flags, by their places, or one so and one so."""
    places = list(given["files"])
    names = []
    for flag, name in (("input_file", "IN"), ("output_file", "OUT")):
        found = given[flag] or (places.pop(0) if places else None)
        if found is None:
            raise SettingsError([f"{name} is missing"])
        names.append(Path(found))
    if places:
        raise SettingsError([f"unexpected argument {places[0]!r}"])
    return names[0], names[1]


def _group(extra: Any) -> str:
    return str(extra["group"]) if isinstance(extra, dict) else ""
