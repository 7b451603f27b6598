"""`loraplex keys ...`: on the file that a server follows, whether one runs or not."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from loraplex_server.commands.error import CommandError
from loraplex_server.commands.key_audit import audited
from loraplex_server.commands.key_tables import key_facts, key_list, made_key
from loraplex_server.commands.parser import Parser, add_command, run_command, show
from loraplex_server.settings import SettingsError
from loraplex_server.tenants.errors import KeyStoreError, UnknownKeyError
from loraplex_server.tenants.grant import Grant
from loraplex_server.tenants.key import ID_PREFIX, Key, new_key
from loraplex_server.tenants.key_file import SUFFIXES, entry_of
from loraplex_server.tenants.key_store import FILE, KeyStore
from loraplex_server.tenants.keyring import open_keys
from loraplex_server.tenants.moment import moment_ahead
from loraplex_server.tenants.secret import PREFIX, digest_of, is_secret

# By the grant's own names, where the flags are shorter.
_FLAGS = {"requests_per_minute": "rpm", "tokens_per_minute": "tpm"}


def keys(arguments: Sequence[str]) -> int:
    """Run one of the sub-commands; returns the exit code."""
    try:
        return run_command(_parser(), arguments)
    except (KeyStoreError, UnknownKeyError) as error:
        raise CommandError(str(error)) from error


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="loraplex keys",
        description="Make, list and revoke the keys of tenants; a running server knows at once.",
        allow_abbrev=False,
    )
    place = argparse.ArgumentParser(add_help=False)
    either = place.add_mutually_exclusive_group()
    either.add_argument("--state-dir", metavar="DIR", help="of the server (or LORAPLEX_STATE_DIR)")
    either.add_argument("--keys", metavar="FILE", help="the server's --keys (or LORAPLEX_KEYS)")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    create = add_command(commands, "create", "make a key; it is shown once and never again", _create, place)
    create.add_argument("--tenant", required=True, metavar="NAME", help="who it is for")
    create.add_argument("--name", default="", metavar="TEXT", help="to tell a tenant's keys apart")
    create.add_argument(
        "--adapters",
        metavar="PATTERNS",
        help="what it may use, such as acme-*,base; base is the base model (default: * for all)",
    )
    create.add_argument("--rpm", type=int, metavar="N", help="requests a minute")
    create.add_argument("--tpm", type=int, metavar="N", help="tokens a minute, of prompts and answers")
    create.add_argument("--concurrency", type=int, metavar="N", help="requests at once")
    create.add_argument("--priority", type=int, metavar="N", help="lower is earlier (default: 0)")
    create.add_argument("--weight", type=float, metavar="N", help="of the tenant's share (default: 1)")
    create.add_argument("--expires", metavar="WHEN", help="a date such as 2027-01-31, or 12h, 30d, 4w from now")
    create.add_argument("--admin", action="store_true", help="it administers adapters and keys, and uses all")
    create.add_argument("--yaml", action="store_true", help="keep it nowhere; print the item for a YAML file of keys")
    add_command(commands, "list", "list all keys", _list, place)
    for name, summary, run in (
        ("show", "show everything about one key", _show),
        ("revoke", "take a key back, for good", _revoke),
    ):
        add_command(commands, name, summary, run, place).add_argument("key", metavar="ID|KEY", help="its id, or itself")
    return parser


def _create(given: argparse.Namespace) -> int:
    key, secret = new_key(_grant(given))
    if given.yaml:
        show(given, {"secret": secret, "item": entry_of(key)}, made_key(secret, item=entry_of(key)))
        return 0
    path = _database(given, "put what `loraplex keys create --yaml` prints into it")
    with contextlib.closing(KeyStore(path, create=True)) as store:
        with audited("key.create", path) as deed:
            deed.about(key.id, for_tenant=key.grant.tenant, admin=key.grant.admin)
            store.add(key)
        try:
            show(given, {**key.fields(), "secret": secret}, made_key(secret, key.fields()))
        except OSError:  # a key that nobody has seen opens nothing for anybody
            with audited("key.revoke", path) as deed:
                deed.about(key.id)
                store.revoke(key.id)
            raise
    return 0


def _list(given: argparse.Namespace) -> int:
    found = [key.fields() for key in _keys(given)]
    show(given, found, key_list(found))
    return 0


def _show(given: argparse.Namespace) -> int:
    fields = _meant(given).fields()
    show(given, fields, key_facts(fields))
    return 0


def _revoke(given: argparse.Namespace) -> int:
    path = _database(given, "set `revoked: true` there")
    with contextlib.closing(KeyStore(path)) as store, audited("key.revoke", path) as deed:
        if given.key.startswith(ID_PREFIX):
            deed.about(given.key[:100])  # whether there is one or not; all else may be a key, mistyped
        key = _meant(given)
        deed.about(key.id)
        fields = store.revoke(key.id).fields()
    show(given, fields, f"revoked {key.id} of {key.grant.tenant}")
    return 0


def _grant(given: argparse.Namespace) -> Grant:
    """Raises SettingsError, which names the flag."""
    wanted: dict[str, Any] = {name: getattr(given, _FLAGS.get(name, name)) for name in Grant.model_fields}
    if given.adapters is not None:
        wanted["adapters"] = [pattern.strip() for pattern in given.adapters.split(",")]
    try:
        if given.expires is not None:
            wanted["expires"] = moment_ahead(given.expires, time.time())
        return Grant(**wanted)
    except ValidationError as error:
        raise SettingsError([_fault(fault) for fault in error.errors()]) from None
    except ValueError as error:
        raise SettingsError([f"--expires: {error}"]) from None


def _fault(error: Mapping[str, Any]) -> str:
    name = str(error["loc"][0]) if error["loc"] else "admin"
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("admin: ")
    return f"--{_FLAGS.get(name, name)}: {message[:1].lower()}{message[1:]}"


def _path(given: argparse.Namespace) -> Path:
    keys, folder = given.keys, given.state_dir
    if not keys and not folder:
        keys, folder = os.environ.get("LORAPLEX_KEYS"), os.environ.get("LORAPLEX_STATE_DIR")
    if keys:
        return Path(keys).expanduser()
    if folder:
        return Path(folder).expanduser() / FILE
    raise SettingsError(["--state-dir or --keys says where the keys are; neither is given, here or in the environment"])


def _keys(given: argparse.Namespace) -> list[Key]:
    with contextlib.closing(open_keys(_path(given))) as source:
        return source.keys()


def _meant(given: argparse.Namespace) -> Key:
    """By its id, or by the key itself: of one that leaked, that is what is known."""
    wanted = given.key
    for key in _keys(given):
        if key.id == wanted or (is_secret(wanted) and key.digest == digest_of(wanted)):
            return key
    # What only looks like a secret may be one that was mistyped: neither is repeated.
    shown = "like this one" if wanted.startswith(PREFIX) else repr(wanted[:100])
    raise UnknownKeyError(f"there is no key {shown} in {_path(given)}")


def _database(given: argparse.Namespace, instead: str) -> Path:
    """The keys' file, which may be written. Args: instead: what to do where it may not."""
    path = _path(given)
    if path.suffix in SUFFIXES:
        raise CommandError(f"{path} is written by hand: {instead}")
    return path
