"""The command line of the settings: argparse's parser, filled by pydantic-settings from the fields."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from pydantic_settings import CliSettingsSource

from loraplex_server.settings import life_options, log_options
from loraplex_server.settings.errors import SettingsError, did_you_mean
from loraplex_server.settings.options import ServeSettings
from loraplex_server.settings.told import PREFIX
from loraplex_server.settings.translate import translate

EPILOG = f"""\
Each option can also be set by a variable ({PREFIX}MAX_NUM_SEQS=64; lists as a,b) or in a YAML file given by
--config (max-num-seqs: 64). The command line wins over the environment, and the environment over the file.

vLLM's spellings: the options of `vllm serve` are taken too, with dashes or underscores, so that its command
lines and manifests start this server. Each is one of the above (--enforce-eager is --no-graphs), or
tunes what needs no tuning here (--max-loras; the log says why), or is refused (--pipeline-parallel-size 2)."""


# In the help's order; fields come in that of their classes.
GROUPS = (
    "Model",
    "Adapters",
    "Memory",
    "Scheduling",
    "Batches",
    "HTTP",
    "Tenants",
    life_options.GROUP,
    log_options.GROUP,
    "Settings",
)


class _Parser(argparse.ArgumentParser):
    """Raises instead of leaving the process, so that every problem is reported in one way."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError([message.removeprefix("argument ")])


class _Help(argparse.RawDescriptionHelpFormatter):
    """Options in one column wide enough for their names, values shown once."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=110)


class CommandLine:
    """Reads settings off an argument list.

    Args:
        prog: the command as typed, such as `loraplex serve`.
        description: one sentence for the top of its help.
        takes_model: whether MODEL is among its arguments.
        model_flag: whether it is called --model there.
        shape: its arguments in the first line of the help; default: as takes_model says.
        without: names of settings that it does not take.
    """

    def __init__(
        self,
        prog: str,
        description: str,
        takes_model: bool = True,
        *,
        model_flag: bool = False,
        shape: str | None = None,
        without: Collection[str] = (),
    ) -> None:
        self._groups: dict[str, Any] = {}
        self._takes_model = takes_model
        self._model_flag = model_flag
        self._without = without
        self._others: list[str] = []
        self.others: dict[str, Any] = {}
        self.lines: list[str] = []  # of the last reading: what the log should say of it
        self._parser = _Parser(
            prog=prog,
            usage=f"{prog} {shape or ('MODEL [options]' if takes_model else '[options]')}",
            description=description,
            epilog=EPILOG,
            formatter_class=_Help,
            allow_abbrev=False,
            add_help=False,
        )
        for title in GROUPS:
            self._group(title)
        self._source: CliSettingsSource[Any] = CliSettingsSource(
            ServeSettings, root_parser=self._parser, add_argument_method=self._add, formatter_class=_Help
        )
        self._group("Settings").add_argument("-h", "--help", action="help", help="show this message and exit")

    def add(self, title: str, *names: str, **how: Any) -> None:
        """One more argument, beside those of the settings; `read` leaves its value in `others`.

        Args:
            title: of its group. names, how: as argparse's add_argument has them.
        """
        self._others.append(self._group(title).add_argument(*names, **how).dest)

    def read(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Values of the fields that the arguments set, as strings.

        Raises:
            SettingsError: an argument is unknown, refused or lacks its value.
            SystemExit: help was asked for and printed.
        """
        own = {option: action.nargs != 0 for action in self._parser._actions for option in action.option_strings}
        ours = translate(arguments, own, takes_model=self._takes_model, takes_words=bool(self._others))
        parse = self._parser.parse_known_intermixed_args if self._others else self._parser.parse_known_args
        namespace, unknown = parse(ours.arguments)
        problems = [*ours.problems, *(self._unknown(argument) for argument in _without_values(unknown))]
        if problems:
            raise SettingsError(problems)
        self.others = {name: vars(namespace).pop(name) for name in self._others}
        self.lines = ours.lines
        values = dict(self._source(parsed_args=namespace)())
        return values | ({"lora_modules": ours.lora_modules} if ours.lora_modules else {})

    def format_help(self) -> str:
        """The text of --help."""
        return self._parser.format_help()

    def _add(self, parser: argparse.ArgumentParser, *names: str, **how: Any) -> None:
        """Called by pydantic-settings for each field: groups it, and words its help for people."""
        name = (names[0] if names[0].startswith("-") else how.get("dest", names[0])).lstrip("-")
        if name.replace("-", "_") in self._without:
            return
        field = ServeSettings.model_fields[name.replace("-", "_")]
        shown = field.json_schema_extra
        if not isinstance(shown, dict):
            raise TypeError(f"option {name} says no group")
        how["help"] = _help_line(field.description or "", field.default)
        if not names[0].startswith("-"):
            if not self._takes_model:
                return
            how["default"] = argparse.SUPPRESS  # the environment or the file may name it
            if self._model_flag:
                names = ("--model",)
            else:
                how["nargs"] = "?"
        elif shown["metavar"]:
            how["metavar"] = str(shown["metavar"])
        elif how.get("metavar"):
            how["metavar"] = str(how["metavar"]).replace("str,", "")
        self._group(str(shown["group"])).add_argument(*names, **how)

    def _group(self, title: str) -> Any:
        if title not in self._groups:
            self._groups[title] = self._parser.add_argument_group(title)
        return self._groups[title]

    def _unknown(self, argument: str) -> str:
        flag = argument.split("=")[0]
        if not flag.startswith("-"):
            return f"unexpected argument {flag!r}"
        known = [option for action in self._parser._actions for option in action.option_strings]
        return f"unknown option {flag}{did_you_mean(flag, known)}"


def _help_line(text: str, default: object) -> str:
    hidden = default is None or default == () or "default:" in text or not isinstance(default, str | int | float)
    if isinstance(default, bool):
        default = "on" if default else "off"
    line = text if hidden else f"{text} (default: {_plain(default)})"
    return line.replace("%", "%%")


def _plain(default: object) -> str:
    if isinstance(default, float) and default.is_integer():
        return str(int(default))
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if isinstance(default, int) and default >= size and default % size == 0:
            return f"{default // size}{unit}"
    return str(default)


def _without_values(unknown: Sequence[str]) -> list[str]:
    """Of unknown arguments, the options: what follows an unknown option is most likely its value."""
    options = [argument for argument in unknown if argument.startswith("-")]
    return options or list(unknown)
