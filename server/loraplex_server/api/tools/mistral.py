"""Calls as Mistral's models write them: `[TOOL_CALLS][{"name": "f", "arguments": {...}}, ...]`, and since 2025
`[TOOL_CALLS]f[ARGS]{...}`, once for each call, perhaps with `[CALL_ID]...` between.
"""

from __future__ import annotations

import re

from loraplex_server.api.tools.parser import Parser
from loraplex_server.api.tools.reader import Waiting
from loraplex_server.api.tools.syntax import CallSyntax

BEGIN = "[TOOL_CALLS]"
CALL_ID = "[CALL_ID]"
ARGS = "[ARGS]"
ARRAY_SYNTAX = CallSyntax(
    opening=BEGIN + " [",
    before='{"name": "',
    between='", "arguments": ',
    after="}",
    separator=", ",
    closing="]",
    trigger=BEGIN,
)
ARGS_SYNTAX = CallSyntax(before=BEGIN, between=ARGS, after="", separator="", trigger=BEGIN)

_WORD = re.compile(r"[A-Za-z0-9_.:/-]*")


class MistralParser(Parser):
    """A call may have any name: the mark says that it is one."""

    def _read(self) -> Waiting[None]:
        while not self.full and (yield from self._to_mark(BEGIN)):
            start = self._reader.at - len(BEGIN)
            yield from self._reader.space()
            following = yield from self._reader.peek()
            called = yield from self._objects() if following and following in "[{" else self._named()
            if not called:
                self._no_call(start, BEGIN)

    def _named(self) -> Waiting[bool]:
        """A name, and behind it the arguments."""
        name = yield from self._reader.run(_WORD)
        yield from self._reader.space()
        if (yield from self._reader.literal(CALL_ID)):
            yield from self._reader.space()
            yield from self._reader.run(_WORD)
            yield from self._reader.space()
        yield from self._reader.literal(ARGS)
        yield from self._reader.space()
        if not name or (yield from self._reader.peek()) != "{":
            return False
        self._sink.begin(name)
        yield from self._reader.nested(self._sink.arguments)
        self._sink.end()
        return True
