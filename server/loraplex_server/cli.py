"""The command `loraplex`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loraplex_server import __version__
from loraplex_server.api.process.start_error import StartError
from loraplex_server.commands.error import CommandError
from loraplex_server.commands.output import written
from loraplex_server.demo import Demo, find_demo
from loraplex_server.logs.redaction import redact
from loraplex_server.settings import SettingsError, load_settings
from loraplex_server.settings.errors import did_you_mean
from loraplex_server.settings.parser import CommandLine
from loraplex_server.torch_free import hide_torch

BAD_USAGE = 2
FAILED = 1
INTERRUPTED = 130


@dataclass(frozen=True)
class Command:
    """Args: summary: one line for the help. run: takes the arguments after the name, returns the exit code."""

    summary: str
    run: Callable[[Sequence[str]], int]


def serve(arguments: Sequence[str]) -> int:
    """`loraplex serve`."""
    summary = "Serve a base model and any number of LoRA adapters over an OpenAI-compatible API."
    command_line = CommandLine("loraplex serve", summary)
    settings = load_settings(command_line, arguments)
    hide_torch()
    from loraplex_server.api.process.serve import run  # transformers takes seconds to import; --help must not

    run(settings, lines=command_line.lines)
    return 0


def demo(arguments: Sequence[str]) -> int:
    """`loraplex demo`."""
    summary = "Serve the bundled demo: a small base model, and adapters that each learnt one task."
    command_line = CommandLine("loraplex demo", summary, takes_model=False)
    command_line.read(arguments)  # --help ends here, demo or not
    bundled = Demo(find_demo())
    settings = load_settings(command_line, arguments, defaults=bundled.defaults)
    hide_torch()
    from loraplex_server.api.process.serve import run

    run(settings, on_ready=bundled.announce, lines=command_line.lines)
    return 0


def adapters(arguments: Sequence[str]) -> int:
    """`loraplex adapters`."""
    from loraplex_server.commands.adapters import adapters as run

    return run(arguments)


def run_batch(arguments: Sequence[str]) -> int:
    """`loraplex run-batch`."""
    from loraplex_server.commands.run_batch import run_batch as run

    return run(arguments)


def keys(arguments: Sequence[str]) -> int:
    """`loraplex keys`."""
    from loraplex_server.commands.keys import keys as run

    return run(arguments)


def bench(arguments: Sequence[str]) -> int:
    """`loraplex bench`."""
    from loraplex_server.commands.bench import bench as run

    return run(arguments)


def plan(arguments: Sequence[str]) -> int:
    """`loraplex plan`."""
    from loraplex_server.commands.plan import plan as run

    return run(arguments)


def version(arguments: Sequence[str]) -> int:
    """`loraplex version`."""
    if arguments:
        raise SettingsError([f"unexpected argument {arguments[0]!r}"])
    print(__version__)
    return 0


COMMANDS = {
    "serve": Command("serve a model and its adapters", serve),
    "demo": Command("serve the bundled demo", demo),
    "adapters": Command("check adapters' files; list, add and remove those of a running server", adapters),
    "keys": Command("make, list and revoke the keys of tenants", keys),
    "run-batch": Command("answer a file of requests, with an engine of its own or a running server's", run_batch),
    "bench": Command("measure throughput and latency, of a server or of an engine alone", bench),
    "plan": Command("say what a server would take of memory, and how fast it could be at best", plan),
    "version": Command("print the version", version),
}


def usage() -> str:
    """The text of `loraplex --help`."""
    lines = [f"  {name:<10} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: loraplex COMMAND ...",
            "",
            "One base model in memory, any number of LoRA adapters in the same batch.",
            "",
            "Commands:",
            *lines,
            "",
            "`loraplex COMMAND --help` shows a command's options.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 2 for bad usage or settings, 1 for what failed."""
    given = sys.argv[1:] if arguments is None else arguments
    return written("loraplex", lambda: _run(given))


def _run(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else BAD_USAGE
    name = "version" if arguments[0] == "--version" else arguments[0]
    if name not in COMMANDS:
        return _complain("loraplex", [f"unknown command {name!r}{did_you_mean(name, COMMANDS)}"])
    try:
        return COMMANDS[name].run(arguments[1:])
    except SettingsError as error:
        return _complain(f"loraplex {name}", error.problems)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (StartError, CommandError) as error:
        print(redact(f"loraplex {name}: {error}"), file=sys.stderr)
        return FAILED


def _complain(prog: str, problems: Sequence[str]) -> int:
    for problem in problems:
        print(redact(f"{prog}: {problem}"), file=sys.stderr)
    print(f"`{prog} --help` shows what there is.", file=sys.stderr)
    return BAD_USAGE


if __name__ == "__main__":
    sys.exit(main())
