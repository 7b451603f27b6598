"""Calls as Llama 3 writes them: `{"name": "f", "parameters": {...}}`, several divided by `;`, perhaps behind a tag."""

from __future__ import annotations

from loraplex_server.api.tools.call_object import ARGUMENTS, CallObject
from loraplex_server.api.tools.parser import Parser
from loraplex_server.api.tools.reader import Waiting
from loraplex_server.api.tools.syntax import CallSyntax

PYTHON_TAG = "<|python_tag|>"
SYNTAX = CallSyntax(before='{"name": "', between='", "parameters": ', after="}", separator="; ", prefix=PYTHON_TAG)
FIRST_KEYS = ("name", "type", *ARGUMENTS)


class Llama3Parser(Parser):
    """Without a tag, only an answer that begins with an object that names one of the request's functions is a call."""

    def _read(self) -> Waiting[None]:
        yield from self._reader.space()
        bare = (yield from self._reader.peek()) == "{" and (yield from self._calls(tagged=False))
        if not bare:
            self._reader.at = 0
        while not self.full and (yield from self._to_mark(PYTHON_TAG)):
            start = self._reader.at - len(PYTHON_TAG)
            yield from self._reader.space()
            if not (yield from self._calls(tagged=True)):
                self._no_call(start, PYTHON_TAG)

    def _calls(self, *, tagged: bool) -> Waiting[bool]:
        """Whether at least one call comes next; the reader then stands behind the last."""
        accepts = bool if tagged else self._names.__contains__
        first_keys = () if tagged else FIRST_KEYS
        found, behind = False, self._reader.at
        while not self.full:
            call = CallObject(self._reader, self._sink, accepts, first_keys)
            if not (yield from call.read()):
                break
            found, behind = True, self._reader.at
            yield from self._reader.space()
            if not (yield from self._reader.literal(";")):
                break
            yield from self._reader.space()
            if not (yield from self._reader.peek()):
                return True  # a last `;` divides nothing
        self._reader.at = behind
        return found
