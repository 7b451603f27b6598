"""A command line in vLLM's words, in ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loraplex_server.settings.flag import Flag
from loraplex_server.settings.lora_module import looks_like_module
from loraplex_server.settings.vllm_flags import FLAGS, SHORT

SHOWN = 60  # characters of a value in a message


@dataclass
class Translated:
    """Args: arguments: for our parser. lora_modules: as they were given. lines: for the log. problems: one a line."""

    arguments: list[str] = field(default_factory=list)
    lora_modules: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def translate(
    arguments: Sequence[str], own: Mapping[str, bool], *, takes_model: bool, takes_words: bool = False
) -> Translated:
    """Options may have underscores for dashes, and `=value`; `--served-model-name a b` is taken as vLLM takes it.

    Args:
        arguments: as they were typed.
        own: our options, and whether each takes a value, which is then never looked at.
        takes_model: a word may be MODEL.
        takes_words: words may be something else, so that no option is ever given several.
    """
    return _Translator(arguments, own, takes_model, takes_words).run()


class _Translator:
    def __init__(self, arguments: Sequence[str], own: Mapping[str, bool], takes_model: bool, takes_words: bool) -> None:
        self._left = list(arguments)
        self._own = own
        self._words = takes_words
        self._model: str | None = None
        self._model_known = not takes_model or any(word.split("=")[0] in _MODELS for word in arguments)
        self._out = Translated()

    def run(self) -> Translated:
        while self._left:
            word = self._left.pop(0)
            if word.startswith("-O") and word[2:].strip("0123") == "":
                continue  # vLLM's levels of compilation
            if not word.startswith("-") or word == "-":
                self._name_model(word)
                continue
            name, equals, value = word.partition("=")
            name = SHORT.get(name, name)
            name = "--" + name[2:].replace("_", "-") if name.startswith("--") else name
            flag = FLAGS.get(name[2:].split(".")[0])
            if flag is None or (name in self._own and flag.to in ("", "model")):
                self._keep(name, [value] if equals else None)
            else:
                self._take(name, flag, [value] if equals else None)
        if self._model is not None:
            self._out.arguments.insert(0, self._model)
        return self._out

    def _name_model(self, model: str) -> None:
        if self._words:
            self._out.arguments.append(model)
            return
        if self._model is not None and self._model != model:
            self._out.problems.append(f"unexpected argument {model!r}: MODEL is {self._model!r} already")
        self._model, self._model_known = model, True

    def _keep(self, name: str, values: list[str] | None) -> None:
        """An option that is no other server's, or nobody's: our parser sees to it, and to the word behind it."""
        self._out.arguments.append(name if values is None else f"{name}={values[0]}")
        if values is None and self._own.get(name, self._model_known) and self._left and self._left[0][:2] != "--":
            self._out.arguments.append(self._left.pop(0))

    def _take(self, name: str, flag: Flag, values: list[str] | None) -> None:
        if flag.takes == "nothing":
            if values is not None:
                self._out.problems.append(f"{name} takes no value")
            values = [""]
        elif values is None:
            values = self._values(flag)
            if not values:
                self._out.problems.append(f"{name}: expected one argument")
        elif flag.takes == "many":
            values += self._more(flag)
        for value in values:
            self._say(name, flag, value)

    def _values(self, flag: Flag) -> list[str]:
        if not self._left or self._left[0].startswith("--"):
            return []
        first = [self._left.pop(0)]
        return first + self._more(flag) if flag.takes == "many" else first

    def _more(self, flag: Flag) -> list[str]:
        """Further values; without MODEL, the next word may be that."""
        more: list[str] = []
        if flag.takes == "many":
            while self._left and not self._left[0].startswith("-") and self._belongs(self._left[0], flag):
                more.append(self._left.pop(0))
        return more

    def _belongs(self, word: str, flag: Flag) -> bool:
        return looks_like_module(word) if flag.to == "lora-modules" else self._model_known and not self._words

    def _say(self, name: str, flag: Flag, value: str) -> None:
        shown = f"{name} {_cut(value)}" if value and not flag.secret and flag.to != "api-key" else name
        try:
            read = flag.read(value)
        except ValueError as error:
            self._out.problems.append(f"{shown}: {error}")
            return
        if flag.to == "model":
            self._name_model(value)
        elif flag.to == "lora-modules":
            self._out.lora_modules.append(value)
        elif flag.to and flag.takes == "nothing":
            self._out.arguments.append(f"--{flag.to}")
        elif flag.to:
            self._out.arguments += [] if read is None else [f"--{flag.to}={read}"]
        elif flag.only is not None and value not in flag.only:
            self._out.problems.append(f"{shown} is not supported here: {flag.why}")
        elif flag.only is None:
            self._out.lines.append(f"{shown}: {flag.why}")


_MODELS = frozenset(
    f"--{name}" for each in FLAGS for name in (each, each.replace("-", "_")) if FLAGS[each].to == "model"
)


def _cut(value: str) -> str:
    return value if len(value) <= SHOWN else value[:SHOWN] + "..."
