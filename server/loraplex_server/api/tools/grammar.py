"""Calls demanded of a model: the answers that are such calls, as a grammar in Lark's syntax as llguidance reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loraplex_server.api.tools.syntax import CallSyntax

_TEXT = r"TEXT: /(.|\n)*/"
# An answer that does not begin as calls do.
_PLAIN = r"PLAIN: /[ \n\r\t]*([^ \n\r\t{](.|\n)*)?/"


@dataclass(frozen=True)
class CallGrammar:
    """Grammars of calls of some functions.

    Args:
        syntax: of the calls.
        functions: names, and the schemas of their arguments as llguidance takes them.
        tokens: marks of the syntax that llguidance reads as tokens, not as text, and their ids.
        many: more than one call, where the model wants to.
    """

    syntax: CallSyntax
    functions: Sequence[tuple[str, str]]
    tokens: Mapping[str, int]
    many: bool = True

    def calls(self) -> str:
        """At least one call, and nothing else."""
        return self._lark(self._row(self.syntax.opening, "call"))

    def any(self) -> str:
        """Calls wherever the model makes them, and text otherwise."""
        syntax = self.syntax
        if syntax.trigger is None:
            calls = self._row(syntax.opening, "call")
            return self._lark(f"PLAIN | {calls} | mark {calls}", _PLAIN, *self._mark("PLAIN", syntax.prefix))
        rules = [_TEXT, *self._mark("TEXT", syntax.trigger)]
        if syntax.opening:
            tagged = self._row(syntax.opening.removeprefix(syntax.trigger), "call")
        else:
            tagged = "marked"
            rules.append(self._rule("marked", syntax.before.removeprefix(syntax.trigger)))
        return self._lark(f"( mark {tagged} )* TEXT", *rules)

    def calls_or(self, answer: str) -> str:
        """Calls, or else an answer that another grammar describes.

        Args:
            answer: the name that this grammar has for that one.
        """
        return self._lark(f"{self._row(self.syntax.opening, 'call')} | @{answer}")

    def _mark(self, text: str, mark: str) -> list[str]:
        """Rules of text up to a mark: lazy, so that there is none in the text, and also of the mark as a token."""
        rules = [f"spelled[lazy]: {text} {json.dumps(mark)}"]
        token = f" | {text} {self._terminals(mark)}" if mark in self.tokens else ""
        return [*rules, f"mark: spelled{token}"]

    def _row(self, opening: str, call: str) -> str:
        more = f"( {self._terminals(self.syntax.separator)} {call} )*" if self.many else ""
        return " ".join(filter(None, (self._terminals(opening), call, more, self._terminals(self.syntax.closing))))

    def _rule(self, name: str, before: str) -> str:
        """A call, whose text in front of the function's name is this."""
        after = self._terminals(self.syntax.after)
        options = [
            f"{self._terminals(before + function + self.syntax.between)} args_{number} {after}"
            for number, (function, _) in enumerate(self.functions)
        ]
        return f"{name}: " + "\n  | ".join(options)

    def _lark(self, start: str, *rules: str) -> str:
        arguments = [f"args_{number}: %json {schema}" for number, (_, schema) in enumerate(self.functions)]
        return "\n".join((f"start: {start}", *rules, self._rule("call", self.syntax.before), *arguments)) + "\n"

    def _terminals(self, text: str | None) -> str:
        """A text as strings and tokens."""
        if not text:
            return ""
        marks = "|".join(map(re.escape, self.tokens))
        pieces = re.split(f"({marks})", text) if marks else [text]
        return " ".join(
            f"<[{self.tokens[piece]}]>" if piece in self.tokens else json.dumps(piece, ensure_ascii=False)
            for piece in pieces
            if piece
        )
