"""`loraplex adapters ...`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from rich.console import Console, RenderableType

from loraplex_server.commands.client import DEFAULT_URL, Client, key_from, url_from
from loraplex_server.commands.tables import adapter_facts, adapter_list
from loraplex_server.settings import SettingsError

STATES = ("registered", "on_disk", "loading", "host", "device", "error")

Run = Callable[[argparse.Namespace], int]


def adapters(arguments: Sequence[str]) -> int:
    """Run one of the sub-commands; returns the exit code."""
    namespace = _parser().parse_args(arguments)
    run: Run = namespace.run
    return run(namespace)


class _Parser(argparse.ArgumentParser):
    """Raises instead of leaving the process, so that every problem is reported in one way."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError([message.removeprefix("argument ")])


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="loraplex adapters",
        description="Look at adapters' files, and at the adapters of a running server.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    check = _command(commands, "check", "say what an adapter is, or every reason why it would be refused", _check)
    check.add_argument("path", metavar="PATH", help="the adapter's folder")
    check.add_argument("--model", metavar="MODEL", help="a checkpoint's folder or hub id; its weights are not loaded")
    remote = _remote_options()
    listing = _command(commands, "list", "list the adapters of a server", _list, remote)
    listing.add_argument("--state", action="append", default=[], choices=STATES, help="only those; repeat it for more")
    for name, summary, run in (
        ("show", "show everything about one adapter", _show),
        ("remove", "remove an adapter; requests that it answers finish", _remove),
        ("pin", "load an adapter, and keep it in memory", lambda given: _change(given, {"pinned": True})),
        ("unpin", "let a pinned adapter leave again", lambda given: _change(given, {"pinned": False})),
    ):
        _command(commands, name, summary, run, remote).add_argument("name", metavar="NAME")
    add = _command(commands, "add", "add an adapter to a server", _add, remote)
    add.add_argument("name", metavar="NAME", help="what requests call it")
    add.add_argument(
        "source", metavar="SOURCE", help="a folder of the server, org/name[@revision], s3://, gs://, https://"
    )
    add.add_argument("--pin", action="store_true", help="keep it in memory")
    add.add_argument("--alias", action="append", default=[], metavar="NAME", help="another name; repeat it for more")
    add.add_argument("--replace", action="store_true", help="take the place of another source under that name")
    add.add_argument("--no-preload", action="store_true", help="load it with the first request, not now")
    alias = _command(commands, "alias", "give an adapter more names, or take some away", _alias, remote)
    alias.add_argument("name", metavar="NAME")
    alias.add_argument("aliases", metavar="ALIAS", nargs="+")
    alias.add_argument("--remove", action="store_true", help="take these names away")
    return parser


def _command(commands: Any, name: str, summary: str, run: Run, *parents: argparse.ArgumentParser) -> Any:
    command = commands.add_parser(name, help=summary, description=summary, parents=list(parents), allow_abbrev=False)
    command.add_argument("--json", action="store_true", help="for machines")
    command.set_defaults(run=run)
    return command


def _remote_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--url", help=f"of the server (or LORAPLEX_URL; default: {DEFAULT_URL})")
    options.add_argument("--admin-key", metavar="KEY", help="(or LORAPLEX_ADMIN_KEY, or LORAPLEX_API_KEY to look only)")
    return options


@contextlib.contextmanager
def _server(given: argparse.Namespace) -> Iterator[Client]:
    client = Client(url_from(given.url), key_from(given.admin_key))
    try:
        yield client
    finally:
        client.close()


def _check(given: argparse.Namespace) -> int:
    from loraplex_server.commands.check import check_adapter  # torch and transformers take seconds to import

    finding = check_adapter(given.path, given.model)
    _show_one(given, finding.fields(), finding.table())
    return 0 if finding.ok else 1


def _list(given: argparse.Namespace) -> int:
    with _server(given) as server:
        found = server.adapters(given.state)
    _show_one(given, found, adapter_list(found))
    return 0


def _show(given: argparse.Namespace) -> int:
    with _server(given) as server:
        adapter = server.adapter(given.name)
    _show_one(given, adapter, adapter_facts(adapter))
    return 0


def _add(given: argparse.Namespace) -> int:
    body = {
        "name": given.name,
        "source": _absolute(given.source),
        "pinned": given.pin,
        "aliases": given.alias,
        "preload": not given.no_preload,
        "replace": given.replace,
    }
    with _server(given) as server:
        adapter = server.add(body)
    _show_one(given, adapter, adapter_facts(adapter))
    return 0


def _remove(given: argparse.Namespace) -> int:
    with _server(given) as server:
        answer = server.remove(given.name)
    _show_one(given, answer, f"removed {answer['name']}")
    return 0


def _change(given: argparse.Namespace, body: dict[str, Any]) -> int:
    with _server(given) as server:
        adapter = server.change(given.name, body)
    _show_one(given, adapter, adapter_facts(adapter))
    return 0


def _alias(given: argparse.Namespace) -> int:
    with _server(given) as server:
        has = server.adapter(given.name)["aliases"]
        kept = [name for name in has if name not in given.aliases]
        adapter = server.change(given.name, {"aliases": kept if given.remove else [*kept, *given.aliases]})
    _show_one(given, adapter, adapter_facts(adapter))
    return 0


def _absolute(source: str) -> str:
    """A path as the server can read it: it has another working directory."""
    if source.startswith(("./", "../", "~")) or source in (".", ".."):
        return os.path.abspath(os.path.expanduser(source))
    return source


def _show_one(given: argparse.Namespace, for_machines: object, for_people: RenderableType) -> None:
    if given.json:
        sys.stdout.write(json.dumps(for_machines, indent=2, ensure_ascii=False) + "\n")
    else:
        Console().print(for_people, highlight=False, markup=False)
