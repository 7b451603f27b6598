"""One call written as a JSON object: `{"name": "f", "arguments": {...}}`, or with `parameters` as Llama says it."""

from __future__ import annotations

import json
from collections.abc import Callable

from loraplex_server.api.tools.parts import PartSink
from loraplex_server.api.tools.reader import Reader, Waiting

ARGUMENTS = ("arguments", "parameters")
NO_ARGUMENTS = "{}"
# Characters until an object must be known to be a call. Whatever is held is read again if it turns out to be none: with
# marks in its strings, once for each of them, while nothing else is done.
MAX_HELD = 4096


class CallObject:
    """Reads one such object, tells the sink of the call as soon as it certainly is one, and then of its arguments.

    It is one once its name and the first brace of its arguments, or the end of the object, have been read; whatever is
    wrong with it before makes it text, and whatever is wrong after, the end of the call.

    Args:
        reader: stands at the object. sink: of the call.
        accepts: whether a function may have this name.
        first_keys: with which an object must begin to be taken for a call; none: any.
        end_mark: that ends a call whose braces are not closed.
    """

    def __init__(
        self,
        reader: Reader,
        sink: PartSink,
        accepts: Callable[[str], bool],
        first_keys: tuple[str, ...] = (),
        end_mark: str | None = None,
    ) -> None:
        self._reader = reader
        self._sink = sink
        self._accepts = accepts
        self._first_keys = first_keys
        self._end_mark = end_mark
        self._name: str | None = None
        self._held: str | None = None  # arguments that came before the name
        self._begun = False
        self._good = 0  # behind what certainly belongs to the call

    def read(self) -> Waiting[bool]:
        """Whether it is a call: then the reader stands behind it, else anywhere."""
        self._reader.limit = self._reader.at + MAX_HELD
        try:
            return (yield from self._read())
        finally:
            self._reader.limit = None

    def _read(self) -> Waiting[bool]:
        if not (yield from self._reader.literal("{")):
            return False
        first, whole = True, False
        while (yield from self._member(first)):
            first = False
            self._good = self._reader.at
            yield from self._reader.space()
            if (yield from self._reader.literal("}")):
                whole, self._good = True, self._reader.at
                break
            if not (yield from self._reader.literal(",")):
                break
        if whole and not self._begun and self._name is not None:
            self._begin(NO_ARGUMENTS)
        if self._begun:
            self._reader.at = self._good
            self._sink.end()
        return self._begun

    def _member(self, first: bool) -> Waiting[bool]:
        """Pass a key and its value; False where they are wrong."""
        reader = self._reader
        yield from reader.space()
        key = yield from reader.string()
        if key is None or (first and self._first_keys and key not in self._first_keys):
            return False
        yield from reader.space()
        if not (yield from reader.literal(":")):
            return False
        yield from reader.space()
        if key == "name" and self._name is None:
            return (yield from self._read_name())
        if key in ARGUMENTS and not self._begun and self._held is None:
            return (yield from self._read_arguments())
        return (yield from reader.value())

    def _read_name(self) -> Waiting[bool]:
        name = yield from self._reader.string()
        if not name or not name.isprintable() or not self._accepts(name):
            return False
        self._name = name
        if self._held is not None:
            self._begin(self._held)
        return True

    def _read_arguments(self) -> Waiting[bool]:
        if self._name is not None and (yield from self._reader.peek()) == "{":
            self._begin("")
            closed = yield from self._reader.nested(self._sink.arguments, self._end_mark)
            self._good = self._reader.at
            return closed
        self._held = yield from self._whole_arguments()
        if self._held is not None and self._name is not None:
            self._begin(self._held)
        return self._held is not None

    def _whole_arguments(self) -> Waiting[str | None]:
        """An object; or one written as a string, as some models do; or null, for none."""
        character = yield from self._reader.peek()
        if character == "{":
            shown: list[str] = []
            closed = yield from self._reader.nested(shown.append)
            return "".join(shown) if closed else None
        if character == '"':
            written = yield from self._reader.string()
            return written if written is not None and _is_object(written) else None
        return NO_ARGUMENTS if (yield from self._reader.literal("null")) else None

    def _begin(self, arguments: str) -> None:
        if self._name is None:
            raise TypeError("a call without a name")
        self._sink.begin(self._name)
        self._sink.arguments(arguments)
        self._begun = True
        self._reader.limit = None
        self._good = self._reader.at


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
