"""Steps of an installation: commands, shown as they run, their output kept for when one fails."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from serving.process import ROOT

# Git does not see it, and `make clean` removes it.
PEERS = ROOT / "build" / "peers"
LOG_LINES = 15


class PeerError(Exception):
    """A peer cannot be installed or made ready."""


def run(
    console: Console, command: Sequence[str | Path], cwd: Path = PEERS, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command at low priority and return what it printed; `environment` is added to this process's.

    Raises:
        PeerError: it failed, with the last lines that it printed; or there is no such command.
    """
    cwd.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in command]
    console.print(shlex.join(words), markup=False, style="dim", soft_wrap=True)
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            preexec_fn=_lowered,
        )
    except OSError as error:
        raise PeerError(f"{words[0]}: {error.strerror or error}") from error
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-LOG_LINES:])
        raise PeerError(f"{shlex.join(words)} ended with {done.returncode}:\n{tail}")
    return done.stdout


def _lowered() -> None:
    os.nice(10)
