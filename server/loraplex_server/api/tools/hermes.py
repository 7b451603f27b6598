"""Calls as Hermes and Qwen write them: `<tool_call>{"name": "f", "arguments": {...}}</tool_call>`."""

from __future__ import annotations

from loraplex_server.api.tools.parser import Parser
from loraplex_server.api.tools.reader import Waiting
from loraplex_server.api.tools.syntax import CallSyntax

BEGIN = "<tool_call>"
END = "</tool_call>"
SYNTAX = CallSyntax(
    before=BEGIN + '\n{"name": "',
    between='", "arguments": ',
    after="}\n" + END,
    separator="\n",
    trigger=BEGIN,
)


class HermesParser(Parser):
    """A call may have any name: the mark says that it is one. Some models put a list of calls between the marks."""

    def _read(self) -> Waiting[None]:
        while not self.full and (yield from self._to_mark(BEGIN)):
            start = self._reader.at - len(BEGIN)
            yield from self._reader.space()
            if not (yield from self._objects(END)):
                self._no_call(start, BEGIN)
                continue
            behind = self._reader.at
            yield from self._reader.space()
            if not (yield from self._reader.literal(END)):
                self._reader.at = behind
