"""Grammars that answers follow: each compiled once, on a thread of its own, and shared by all who send the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from loraplex_server.engine.grammars.deep_threads import DeepThreads
from loraplex_server.engine.grammars.errors import GrammarError, explain
from loraplex_server.engine.grammars.grammar import Grammar
from loraplex_server.engine.grammars.limits import parser_limits
from loraplex_server.engine.grammars.masks import Masks
from loraplex_server.engine.grammars.matcher import Matcher
from loraplex_server.engine.grammars.tokenizer import MaskTokenizer
from loraplex_server.engine.messages import GrammarStats

# Some kilobytes each, and up to 100 MB with as many lexer states as may be.
MOST_GRAMMARS = 64
# Tens of megabytes each with a large vocabulary.
MOST_TOKENIZERS = 4


class GrammarLibrary:
    """Compiles beside the steps, one grammar at a time.

    Args:
        wake: called from the thread that compiles when a grammar is there, or cannot be.
        threads: that compute masks at once.
    """

    def __init__(self, wake: Callable[[], None], threads: int) -> None:
        self.masks = Masks(threads)
        self.requests_total = self.compiled_total = 0
        self._wake = wake
        self._thread = DeepThreads(1, "grammars")
        self._grammars: OrderedDict[tuple[str, str], Future[Grammar]] = OrderedDict()
        self._tokenizers: OrderedDict[str, MaskTokenizer] = OrderedDict()  # of the thread alone

    def find(self, tokenizer: str, text: str) -> Future[Grammar]:
        """A grammar, or what will be one; its exception is a GrammarError.

        Args:
            tokenizer: path of a `token_file`; it must stay until the grammar is there.
            text: as llguidance writes it.
        """
        self.requests_total += 1
        key = tokenizer, text
        known = self._grammars.get(key)
        if known is None or _is_useless(known):
            known = self._grammars[key] = self._thread.submit(self._compile, tokenizer, text)
            self.compiled_total += 1
            known.add_done_callback(lambda _: self._wake())
        self._grammars.move_to_end(key)
        if len(self._grammars) > MOST_GRAMMARS:
            self._grammars.popitem(last=False)
        return known

    def matcher(self, grammar: Grammar, stops: tuple[int, ...]) -> Matcher:
        """For one answer that begins, and ends with one of these tokens."""
        return Matcher(grammar, stops, self.masks)

    def stats(self) -> GrammarStats:
        """At this moment."""
        return GrammarStats(
            requests_total=self.requests_total,
            compiled_total=self.compiled_total,
            waited_seconds_total=self.masks.waited_s,
        )

    def close(self) -> None:
        """End the threads."""
        self._thread.shutdown(cancel_futures=True)
        self.masks.close()

    def _compile(self, path: str, text: str) -> Grammar:
        from llguidance import LLMatcher

        tokenizer = self._tokenizers.get(path)
        if tokenizer is None:
            tokenizer = self._tokenizers[path] = MaskTokenizer(path)
        self._tokenizers.move_to_end(path)
        if len(self._tokenizers) > MOST_TOKENIZERS:
            self._tokenizers.popitem(last=False)
        start = LLMatcher(tokenizer.reads, text, log_level=0, limits=parser_limits())
        # The first mask takes longest, and no step should wait for it: the copies share what the lexer learns here.
        first = start.deep_copy()
        first.compute_bitmask()
        if first.is_error():
            raise GrammarError(explain(first.get_error()))
        return Grammar(tokenizer, start)


def _is_useless(future: Future[Grammar]) -> bool:
    return future.done() and (future.exception() is not None or future.result().spoiled)
