"""Commands that have commands of their own: how they are parsed, run and answered."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from rich.console import Console, RenderableType

from loraplex_server.settings import SettingsError

Run = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Raises instead of leaving the process, so that every problem is reported in one way."""

    def error(self, message: str) -> NoReturn:
        """Raises SettingsError."""
        raise SettingsError([message.removeprefix("argument ")])


def add_command(commands: Any, name: str, summary: str, run: Run, *parents: argparse.ArgumentParser) -> Any:
    """One of the commands, with --json; the parser to add its own arguments to."""
    command = commands.add_parser(name, help=summary, description=summary, parents=list(parents), allow_abbrev=False)
    command.add_argument("--json", action="store_true", help="for machines")
    command.set_defaults(run=run)
    return command


def run_command(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> int:
    """Run the one that the arguments name; returns the exit code.

    Raises:
        SettingsError: an argument is bad or missing.
    """
    namespace = parser.parse_args(arguments)
    run: Run = namespace.run
    return run(namespace)


def show(given: argparse.Namespace, for_machines: object, for_people: RenderableType) -> None:
    """What a command found, as --json asked for it."""
    if given.json:
        sys.stdout.write(json.dumps(for_machines, indent=2, ensure_ascii=False) + "\n")
    else:
        Console().print(for_people, highlight=False, markup=False)
