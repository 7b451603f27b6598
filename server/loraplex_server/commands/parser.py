"""Commands that have commands of their own: how they are parsed, run and answered."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from rich.console import Console, RenderableType

from loraplex_server.settings import SettingsError

WIDE = 4096  # where there is no terminal, a name is whole on its line, to be searched for

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
    """What a command found, as --json asked for it.

    Raises:
        OSError: it cannot be written.
    """
    if given.json:
        known = (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")
        text = json.dumps(for_machines, indent=2, ensure_ascii=not known) + "\n"
    else:
        console = Console()
        if not console.is_terminal:
            console.width = WIDE
        with console.capture() as captured:
            console.print(for_people, highlight=False, markup=False)
        text = captured.get()
    if sys.stdout:  # none where the shell closed it
        sys.stdout.write(text)
        sys.stdout.flush()
