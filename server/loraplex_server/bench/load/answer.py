"""From the bytes of one answer to its trace."""

from __future__ import annotations

import msgspec

from loraplex_server.bench.load.events import DONE, Choice, EventLines, Usage, decode_chunk
from loraplex_server.bench.load.trace import Trace

# Enough of an error page to see what it is about.
DETAIL_BYTES = 400


class Answer:
    """Reads an HTTP answer's body as it comes and notes in `trace` when tokens arrived.

    Tokens are counted an event each, or by the event's `token_ids` where the server sends them. Where its usage
    disagrees in the end (several tokens an event, or none for tokens without text), the events share its count evenly.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._lines = EventLines()
        self._status = 0
        self._page = b""
        self._ended = False
        self._last: float | None = None
        self._usage: Usage | None = None

    def status(self, code: int) -> None:
        """The HTTP status, before any body."""
        self._status = code

    def feed(self, piece: bytes, now: float) -> None:
        """A piece of the body that arrived at `now`."""
        if self._status != 200:
            self._page = (self._page + piece)[:DETAIL_BYTES]
            return
        for payload in self._lines.feed(piece):
            if payload == DONE:
                self._ended = True
            else:
                self._event(payload, now)

    def fail(self, kind: str, detail: str = "") -> None:
        """The answer will not become whole. Only the first failure counts."""
        if self.trace.error is None:
            self.trace.error, self.trace.detail = kind, detail

    def finish(self, now: float) -> None:
        """The HTTP message is over."""
        trace = self.trace
        if self._status != 200:
            self.fail(f"http {self._status}", self._page.decode(errors="replace"))
        elif not self._ended:
            self.fail("truncated", "the stream ended without [DONE] or a finish reason")
        if trace.error is not None:
            return
        trace.finished = now
        self._settle(now)
        if not trace.times:
            self.fail("no tokens", "the stream ended well, but with no token in it")

    def _event(self, payload: bytes, now: float) -> None:
        try:
            chunk = decode_chunk(payload)
        except msgspec.MsgspecError as error:
            self.fail("malformed", f"{error}: {payload[:DETAIL_BYTES]!r}")
            return
        if chunk.error is not None:
            self.fail("error event", str(chunk.error)[:DETAIL_BYTES])
        if chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices:
            self._choice(choice, now)

    def _choice(self, choice: Choice, now: float) -> None:
        if choice.finish_reason is not None:
            self._ended = True
            if not choice.words and not choice.token_ids:
                # A last token without text, or only the news that there is no more: usage will tell.
                self._last = now
                return
        if choice.opens and not choice.token_ids:
            return
        self.trace.times.append(now)
        self.trace.counts.append(len(choice.token_ids) if choice.token_ids else 1)

    def _settle(self, now: float) -> None:
        """Make the counts those of the server's usage, where it sent one."""
        trace = self.trace
        if self._usage is None:
            return
        trace.prompt_tokens, trace.output_tokens = self._usage.prompt_tokens, self._usage.completion_tokens
        if trace.output_tokens > sum(trace.counts) and self._last is not None:
            trace.times.append(self._last)
            trace.counts.append(1)
        if trace.output_tokens and not trace.times:
            trace.times.append(now)
            trace.counts.append(1)
        if trace.counts and trace.output_tokens != sum(trace.counts):
            each = trace.output_tokens / sum(trace.counts)
            trace.counts = [count * each for count in trace.counts]
