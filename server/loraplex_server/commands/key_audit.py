"""What `loraplex keys` changes leaves the line that the API's changes leave: to standard error, and beside the keys."""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path

from loraplex_server.commands.error import CommandError
from loraplex_server.logs.audit import Action, Deed, logger
from loraplex_server.logs.lines import ConsoleFormatter, JsonFormatter
from loraplex_server.logs.redaction import redact
from loraplex_server.tenants.errors import UnknownKeyError

SUFFIX = ".audit.log"
_PROCESS = "keys"


@contextlib.contextmanager
def audited(action: Action, keys: Path) -> Iterator[Deed]:
    """The deed is what the block does; it has failed where the block raises.

    No server's log need see the command's standard error, so its lines are kept in a file too, as JSON:
    `keys.audit.log` beside `keys.sqlite`. It is opened first, for nothing may change without a line.

    Raises:
        CommandError: the file cannot be written.
    """
    deed = Deed(action)
    with _lines_to(keys.with_suffix(SUFFIX), keys):
        try:
            yield deed
        except BaseException as error:
            deed.log("failed", _reason(error), by=_user())
            raise
        deed.log("done", None, by=_user())


def _reason(error: BaseException) -> str:
    return "key_not_found" if isinstance(error, UnknownKeyError) else type(error).__name__


def _user() -> str:
    """By the real id, which no variable of the environment can change."""
    try:
        return f"user {pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:  # containers may run as anybody
        return f"user {os.getuid()}"


@contextlib.contextmanager
def _lines_to(file: Path, keys: Path) -> Iterator[None]:
    """While the block runs; what else logs in this process is left as it is."""
    try:
        _make_like(file, keys)
        kept = logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"nothing was changed, for {file} cannot be written: {error.strerror or error}") from error
    shown = logging.StreamHandler(sys.stderr)
    json = os.environ.get("LORAPLEX_LOG_FORMAT") == "json"
    shown.setFormatter((JsonFormatter if json else ConsoleFormatter)(_PROCESS, redact))
    kept.setFormatter(JsonFormatter(_PROCESS, redact))
    logger.setLevel(logging.INFO)
    for handler in (shown, kept):
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in (shown, kept):
            logger.removeHandler(handler)
        kept.close()


def _make_like(file: Path, keys: Path) -> None:
    """With the rights and the owner of the keys' file, as SQLite gives them to what lies beside: else a line of root's
    would shut the server's user out."""
    like = keys.stat()
    with contextlib.suppress(FileExistsError):
        made = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, like.st_mode & 0o666)
        try:
            os.fchmod(made, like.st_mode & 0o666)  # the umask took from what was asked for
            if os.geteuid() == 0:
                os.fchown(made, like.st_uid, like.st_gid)
        finally:
            os.close(made)
