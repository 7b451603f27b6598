"""What a grammar may cost. It comes from whoever sends requests, so each of its costs has an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLParserLimits

# Bytes of a grammar, a schema or a regular expression. How deep its rules may lead follows from that: deep_threads.py.
MAX_BYTES = 128 << 10
# Of the lexer's states, each 1 to 2 KB; requests with the same grammar share them.
MAX_STATES = 64_000


def parser_limits() -> LLParserLimits:
    """llguidance's own counts of work for compiling a grammar and for each mask; they end both within a second or so.

    A mask's are half its defaults: the steps of everybody else wait for 7 ms of a lexer's work at the most.
    """
    from llguidance import LLParserLimits

    return LLParserLimits(
        step_lexer_fuel=100_000, step_max_items=25_000, max_lexer_states=MAX_STATES, verbose_errors=False
    )
