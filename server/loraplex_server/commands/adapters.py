"""`loraplex adapters ...`."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from loraplex_server.commands.client import DEFAULT_URL, Client, key_from, url_from
from loraplex_server.commands.error import CommandError
from loraplex_server.commands.parser import Parser, add_command, run_command, show
from loraplex_server.commands.tables import adapter_facts, adapter_list

STATES = ("registered", "on_disk", "loading", "host", "device", "error")


def adapters(arguments: Sequence[str]) -> int:
    """Run one of the sub-commands; returns the exit code."""
    return run_command(_parser(), arguments)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="loraplex adapters",
        description="Look at adapters' files, and at the adapters of a running server.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    check = add_command(commands, "check", "say what an adapter is, or every reason why it would be refused", _check)
    check.add_argument("path", metavar="PATH", help="the adapter's folder")
    check.add_argument("--model", metavar="MODEL", help="a checkpoint's folder or hub id; its weights are not loaded")
    remote = _remote_options()
    listing = add_command(commands, "list", "list the adapters of a server", _list, remote)
    listing.add_argument("--state", action="append", default=[], choices=STATES, help="only those; repeat it for more")
    for name, summary, run in (
        ("show", "show everything about one adapter", _show),
        ("remove", "remove an adapter; requests that it answers finish", _remove),
        ("pin", "load an adapter, and keep it in memory", lambda given: _change(given, {"pinned": True})),
        ("unpin", "let a pinned adapter leave again", lambda given: _change(given, {"pinned": False})),
    ):
        add_command(commands, name, summary, run, remote).add_argument("name", metavar="NAME")
    add = add_command(commands, "add", "add an adapter to a server", _add, remote)
    add.add_argument("name", metavar="NAME", help="what requests call it")
    add.add_argument(
        "source", metavar="SOURCE", help="a folder of the server, org/name[@revision], s3://, gs://, https://"
    )
    add.add_argument("--pin", action="store_true", help="keep it in memory")
    add.add_argument("--alias", action="append", default=[], metavar="NAME", help="another name; repeat it for more")
    add.add_argument("--replace", action="store_true", help="take the place of another source under that name")
    add.add_argument("--no-preload", action="store_true", help="load it with the first request, not now")
    alias = add_command(commands, "alias", "give an adapter more names, or take some away", _alias, remote)
    alias.add_argument("name", metavar="NAME")
    alias.add_argument("aliases", metavar="ALIAS", nargs="+")
    alias.add_argument("--remove", action="store_true", help="take these names away")
    return parser


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
    show(given, finding.fields(), finding.table())
    return 0 if finding.ok else 1


def _list(given: argparse.Namespace) -> int:
    with _server(given) as server:
        found = server.adapters(given.state)
    show(given, found, adapter_list(found))
    return 0


def _show(given: argparse.Namespace) -> int:
    with _server(given) as server:
        adapter = server.adapter(given.name)
    show(given, adapter, adapter_facts(adapter))
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
    show(given, adapter, adapter_facts(adapter))
    return 0


def _remove(given: argparse.Namespace) -> int:
    with _server(given) as server:
        answer = server.remove(given.name)
    show(given, answer, f"removed {answer['name']}")
    return 0


def _change(given: argparse.Namespace, body: dict[str, Any]) -> int:
    with _server(given) as server:
        adapter = server.change(given.name, body)
    show(given, adapter, adapter_facts(adapter))
    return 0


def _alias(given: argparse.Namespace) -> int:
    with _server(given) as server:
        has = server.adapter(given.name)["aliases"]
        kept = [name for name in has if name not in given.aliases]
        if given.remove and (unknown := [name for name in given.aliases if name not in has]):
            raise CommandError(f"adapter '{given.name}' has no alias {' and no '.join(map(repr, unknown))}")
        adapter = server.change(given.name, {"aliases": kept if given.remove else [*kept, *given.aliases]})
    show(given, adapter, adapter_facts(adapter))
    return 0


def _absolute(source: str) -> str:
    """A path as the server can read it: it has another working directory."""
    if source.startswith(("./", "../", "~")) or source in (".", ".."):
        return os.path.abspath(os.path.expanduser(source))
    return source
