"""Text that comes bit by bit, read as if it were all there: a generator waits wherever there is no more yet."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from typing import TypeVar

_T = TypeVar("_T")
Waiting = Generator[None, None, _T]  # each `yield` asks for more text

_OUTSIDE = re.compile(r'["{}\[\]<]')  # where something changes outside of a JSON string; `<` may begin an end mark
_INSIDE = re.compile(r'["\\]')
_SPACE = re.compile(r"\s*")
_SCALAR = re.compile(r"[-+.0-9A-Za-z]*")


class Reader:
    """A place in a text that grows at its end. It can be set back as far as the last `forget`.

    With a limit, no string, object or array is found that ends beyond it.
    """

    def __init__(self) -> None:
        self.at = 0
        self.limit: int | None = None
        self._text = ""
        self._ended = False

    def add(self, text: str) -> None:
        """More text."""
        self._text += text

    def end(self) -> None:
        """There is no more."""
        self._ended = True

    def forget(self) -> None:
        """Let go of what lies behind."""
        self._text = self._text[self.at :]
        self.at = 0

    def peek(self) -> Waiting[str]:
        """The next character; "" at the end."""
        while self.at == len(self._text) and not self._ended:
            yield
        return self._text[self.at : self.at + 1]

    def literal(self, text: str) -> Waiting[bool]:
        """Whether this comes next; if so, it is passed."""
        start = self.at
        for character in text:
            if (yield from self.peek()) != character:
                self.at = start
                return False
            self.at += 1
        return True

    def run(self, pattern: re.Pattern[str]) -> Waiting[str]:
        """The longest run that the pattern of a single repeated class matches; it is passed."""
        found = ""
        while (yield from self.peek()) and (match := pattern.match(self._text, self.at)) and match[0]:
            found += match[0]
            self.at = match.end()
        return found

    def space(self) -> Waiting[None]:
        """Pass white space."""
        yield from self.run(_SPACE)

    def until(self, mark: str, show: Callable[[str], None]) -> Waiting[bool]:
        """Show all text before a mark and stop in front of it; without one, to the end (False)."""
        while True:
            found = self._text.find(mark, self.at)
            stop = found if found >= 0 else len(self._text) - (0 if self._ended else self._begun(mark))
            show(self._text[self.at : stop])
            self.at = stop
            self.forget()
            if found >= 0:
                return True
            if self._ended:
                return False
            yield

    def string(self) -> Waiting[str | None]:
        """A JSON string, decoded and passed; None where there is none. Line ends in it are let pass."""
        if (yield from self.peek()) != '"':
            return None
        start = self.at
        self.at += 1
        if not (yield from self._rest_of_string()):
            return None
        try:
            decoded = str(json.loads(self._text[start : self.at], strict=False))
            decoded.encode()  # half of a surrogate pair is no text
        except ValueError:
            return None
        return decoded

    def nested(self, show: Callable[[str], None], end_mark: str | None = None) -> Waiting[bool]:
        """A JSON object or array from its opening bracket on: shown as it comes, and passed. Only its brackets and
        strings are looked at. False where the text ends before it, or an end mark stands outside of its strings."""
        depth, shown, in_string = 0, self.at, False
        while not self._is_beyond():
            match = (_INSIDE if in_string else _OUTSIDE).search(self._text, self.at)
            if match is None:
                self.at = len(self._text)
                show(self._text[shown : self.at])
                shown = self.at
                if self._is_beyond() or not (yield from self.peek()):
                    return False
                continue
            self.at, character = match.start(), match[0]
            if character == "<" and end_mark is not None:
                show(self._text[shown : self.at])
                shown = self.at
                if (yield from self.literal(end_mark)):
                    self.at = shown
                    return False
            self.at += 1
            if character == '"':
                in_string = not in_string
            elif character == "\\":
                yield from self.peek()
                self.at = min(self.at + 1, len(self._text))
            elif character in "{[":
                depth += 1
            elif character in "}]":
                depth -= 1
                if not depth:
                    show(self._text[shown : self.at])
                    return not self._is_beyond()
        return False

    def value(self) -> Waiting[bool]:
        """Pass a JSON value; False where there is none."""
        character = yield from self.peek()
        if character == '"':
            return (yield from self.string()) is not None
        if character and character in "{[":
            return (yield from self.nested(_nowhere))
        return bool((yield from self.run(_SCALAR)))

    def _rest_of_string(self) -> Waiting[bool]:
        while not self._is_beyond():
            match = _INSIDE.search(self._text, self.at)
            self.at = len(self._text) if match is None else match.end()
            if match is not None and match[0] == '"':
                return not self._is_beyond()
            if self._is_beyond() or not (yield from self.peek()):
                return False
            if match is not None:
                self.at += 1  # what is escaped
        return False

    def _is_beyond(self) -> bool:
        return self.limit is not None and self.at > self.limit

    def _begun(self, mark: str) -> int:
        """How many of the last characters may begin the mark."""
        longest = min(len(mark) - 1, len(self._text) - self.at)
        return next((size for size in range(longest, 0, -1) if self._text.endswith(mark[:size])), 0)


def _nowhere(text: str) -> None:
    """Text that is passed over."""
