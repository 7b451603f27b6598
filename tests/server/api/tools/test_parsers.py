"""Answers taken apart: what is a call, what is text, and that it does not matter how the text comes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tool_models import calls_for

from loraplex_server.api.tools.call_object import MAX_HELD
from loraplex_server.api.tools.hermes import HermesParser
from loraplex_server.api.tools.llama3 import Llama3Parser
from loraplex_server.api.tools.mistral import MistralParser
from loraplex_server.api.tools.parser import Parser
from loraplex_server.api.tools.parts import CallDelta, Part, join_parts

PARSERS: dict[str, type[Parser]] = {"hermes": HermesParser, "llama3": Llama3Parser, "mistral": MistralParser}
NAMES = frozenset({"f", "g"})


def parse(kind: str, texts: Sequence[str], **options: Any) -> list[str | tuple[str | None, str]]:
    """Texts and calls (name, arguments), put together from what the pieces of an answer gave."""
    parser = PARSERS[kind](NAMES, **options)
    parts: list[Part] = [part for text in texts for part in parser.feed(text)]
    return plain(parts + parser.finish())


def plain(parts: Sequence[Part]) -> list[str | tuple[str | None, str]]:
    joined = join_parts(parts)
    calls = [part for part in joined if isinstance(part, CallDelta)]
    assert [call.index for call in calls] == list(range(len(calls)))
    assert all(call.id is not None and call.name for call in calls)
    return [part if isinstance(part, str) else (part.name, part.arguments) for part in joined]


HERMES = [
    ("hello", ["hello"]),
    (" hello \n", [" hello \n"]),
    ("", []),
    ("\n", ["\n"]),
    ('<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', [("f", '{"a": 1}')]),
    (
        'Let me see.\n<tool_call>{"name": "f", "arguments": {}}</tool_call>\n'
        '<tool_call>{"name": "other", "arguments": {"b": [{}]}}</tool_call>\n',
        ["Let me see.", ("f", "{}"), ("other", '{"b": [{}]}')],
    ),
    ('<tool_call>{"name": "f", "arguments": {}}</tool_call>\n\nDone. ', [("f", "{}"), "\n\nDone. "]),
    # brackets, marks, quotes and escapes in strings
    (
        '<tool_call>{"name": "f", "arguments": {"a": "}]</tool_call>\\"\\\\", "b": "é\\u00e9"}}</tool_call>',
        [("f", '{"a": "}]</tool_call>\\"\\\\", "b": "é\\u00e9"}')],
    ),
    # other orders and spellings
    ('<tool_call>{"arguments": {"a": 1}, "name": "f"}</tool_call>', [("f", '{"a": 1}')]),
    ('<tool_call>{"id": [1], "name": "f", "x": -1.5e3, "parameters": {}}</tool_call>', [("f", "{}")]),
    ('<tool_call>{"name": "f"}</tool_call>', [("f", "{}")]),
    ('<tool_call>{"name": "f", "arguments": null}</tool_call>', [("f", "{}")]),
    ('<tool_call>{"name": "f", "arguments": "{\\"a\\": 2}"}</tool_call>', [("f", '{"a": 2}')]),
    ('<tool_call>[{"name": "f", "arguments": {}}, {"name": "g"}]</tool_call> so', [("f", "{}"), ("g", "{}"), " so"]),
    # cut short
    ('<tool_call>{"name": "f", "arguments": {"a": "b', [("f", '{"a": "b')]),
    ('<tool_call>{"name": "f", "arguments": {"a": 1}', [("f", '{"a": 1}')]),
    ('<tool_call>{"name": "f", "arguments": {"a": [1</tool_call>then', [("f", '{"a": [1'), "then"]),
    ('<tool_call>{"name": "f", "argu', ['<tool_call>{"name": "f", "argu']),
    ("<tool_call", ["<tool_call"]),
    # no calls
    ("<tool_call>nothing</tool_call>", ["<tool_call>nothing</tool_call>"]),
    ('<tool_call>{"name": 5}</tool_call>', ['<tool_call>{"name": 5}</tool_call>']),
    ('<tool_call>{"name": ""}</tool_call>', ['<tool_call>{"name": ""}</tool_call>']),
    ('<tool_call>{"name": "\\ud800"}</tool_call>', ['<tool_call>{"name": "\\ud800"}</tool_call>']),
    ('<tool_call>{"name": "f", "arguments": [1]}', ['<tool_call>{"name": "f", "arguments": [1]}']),
    ('<tool_call>{"name": "f", "arguments": "x"}', ['<tool_call>{"name": "f", "arguments": "x"}']),
    ('<tool_call><tool_call>{"name": "f"}</tool_call>', ["<tool_call>", ("f", "{}")]),
    # a call, and something else behind it
    ('<tool_call>{"name": "f", "arguments": {}, oh}</tool_call>', [("f", "{}"), ", oh}</tool_call>"]),
]
LLAMA3 = [
    ('{"name": "f", "parameters": {"a": 1}}', [("f", '{"a": 1}')]),
    (' \n{"type": "function", "name": "f", "parameters": {}}', [("f", "{}")]),
    ('{"name": "f", "parameters": {}}; {"name": "g", "arguments": {"b": ";"}};', [("f", "{}"), ("g", '{"b": ";"}')]),
    ('{"name": "f", "parameters": {}}; more', [("f", "{}"), "; more"]),
    ('{"name": "f", "parameters": {}}; {"x": 1}', [("f", "{}"), '; {"x": 1}']),
    ('{"name": "Ada", "parameters": {}}', ['{"name": "Ada", "parameters": {}}']),
    ('  {"answer": 42}', ['  {"answer": 42}']),
    ('It is {"name": "f", "parameters": {}}', ['It is {"name": "f", "parameters": {}}']),
    ('<|python_tag|>{"name": "any", "parameters": {}}', [("any", "{}")]),
    ('So:<|python_tag|> {"name": "f", "parameters": {}}; {"name": "g"}', ["So:", ("f", "{}"), ("g", "{}")]),
    ("<|python_tag|>print(1)", ["<|python_tag|>print(1)"]),
]
MISTRAL = [
    ('[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]', [("f", '{"a": 1}')]),
    ('Ok [TOOL_CALLS][{"name": "f", "arguments": {}}, {"name": "h"}] x', ["Ok", ("f", "{}"), ("h", "{}"), " x"]),
    ('[TOOL_CALLS]{"name": "f", "arguments": {}}', [("f", "{}")]),
    ('[TOOL_CALLS][{"name": "f", "arguments": {}', [("f", "{}")]),
    ('[TOOL_CALLS][{"name": "f", "arguments": {}}, 5]', [("f", "{}"), ", 5]"]),
    ('[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[CALL_ID]abc123XYZ[ARGS]{}', [("f", '{"a": 1}'), ("g", "{}")]),
    ('[TOOL_CALLS]f{"a": [1, 2]}', [("f", '{"a": [1, 2]}')]),
    ('[TOOL_CALLS]f[ARGS]{"a": ', [("f", '{"a": ')]),
    ("[TOOL_CALLS] [1, 2]", ["[TOOL_CALLS] [1, 2]"]),
    ("[TOOL_CALLS]f of x", ["[TOOL_CALLS]f of x"]),
    ("[TOOL", ["[TOOL"]),
    ("[1, [2]]", ["[1, [2]]"]),
]
CASES = [(kind, *case) for kind, cases in zip(PARSERS, (HERMES, LLAMA3, MISTRAL), strict=True) for case in cases]


@pytest.mark.parametrize(("kind", "text", "expected"), CASES)
def test_an_answer_is_taken_apart(kind: str, text: str, expected: list[Any]) -> None:
    assert parse(kind, [text]) == expected
    assert parse(kind, list(text)) == expected  # a character at a time


# Whatever models write and break off: the marks, and what may stand in calls and around them.
MARKS = ("<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<", "<tool", "[TOOL")
BITS = (
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ": ",
    '"',
    " ",
    "\n",
    "\\",
    "null",
    "12",
    "é",
    "\\u00e9",
    "f",
    "}}",
    '"}',
    '"a": "x\\',
)
KEYS = ('{"name": "f", "arguments": {', '"name"', '"f"', '"a"', '"arguments"', '"a": "x\\', '"parameters": {"b":')
SNIPPETS = st.sampled_from(MARKS + BITS + KEYS)
TEXTS = st.lists(st.one_of(SNIPPETS, st.text(max_size=3)), max_size=25).map("".join)


@given(st.sampled_from(sorted(PARSERS)), TEXTS, st.lists(st.integers(0, 200)), st.sampled_from([None, 1, 2]))
def test_how_the_text_is_cut_changes_nothing(kind: str, text: str, cuts: list[int], most: int | None) -> None:
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(edges)]
    assert parse(kind, pieces, most=most) == parse(kind, [text], most=most)


@given(st.sampled_from(sorted(PARSERS)), TEXTS)
def test_what_makes_no_call_is_text_to_the_last_character(kind: str, text: str) -> None:
    parts = parse(kind, list(text))
    if not any(isinstance(part, tuple) for part in parts):
        assert "".join(map(str, parts)) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(["hermes", "llama3", "mistral"]),
    st.lists(
        st.tuples(st.sampled_from(sorted(NAMES)), st.dictionaries(st.text(max_size=4), JSON, max_size=3)), min_size=1
    ),
    st.booleans(),
    st.integers(1, 7),
)
def test_any_calls_come_back_as_they_were_written(
    kind: str, calls: list[tuple[str, dict[str, Any]]], ascii: bool, size: int
) -> None:
    written = [(name, json.dumps(arguments, ensure_ascii=ascii)) for name, arguments in calls]
    text = calls_for(kind, *written)
    assert parse(kind, [text[i : i + size] for i in range(0, len(text), size)]) == written


def test_arguments_come_as_they_are_written_behind_the_name() -> None:
    parser = HermesParser()
    text = 'See: <tool_call>{"name": "f", "arguments": {"a": "long"}}</tool_call>'
    seen = [part for character in text for part in parser.feed(character)]
    calls = [part for part in seen if isinstance(part, CallDelta)]
    assert (calls[0].name, calls[0].arguments) == ("f", "{")
    assert [call.arguments for call in calls[1:]] == list('"a": "long"}')
    assert "".join(part for part in seen if isinstance(part, str)) == "See:"


def test_text_before_a_call_is_not_held_back() -> None:
    parser = HermesParser()
    assert parser.feed("Let me") == ["Let me"]
    assert parser.feed(" see <") == [" see"]
    assert parser.feed("b>") == [" <b>"]
    assert parser.feed("<tool_") == []
    assert parser.feed("box") == ["<tool_box"]


def test_no_more_calls_are_read_than_were_asked_for() -> None:
    call = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    parser = HermesParser(most=1)
    assert not parser.full
    parts = parser.feed(call + call + "text")
    assert parser.full
    assert plain(parts + parser.finish()) == [("f", "{}")]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_what_does_not_become_a_call_is_not_held_for_ever(size: int) -> None:
    late = '<tool_call>{"arguments": {"a": "' + "x" * MAX_HELD + '"}, "name": "f"}</tool_call>'
    assert parse("hermes", [late[i : i + size] for i in range(0, len(late), size)]) == [late]
    parser = HermesParser()
    shown = "".join(part for part in parser.feed(late[:-40]) if isinstance(part, str))
    assert late.startswith(shown)
    assert len(shown) > MAX_HELD
    early = '<tool_call>{"name": "f", "arguments": {"a": "' + "x" * MAX_HELD + '"}}</tool_call>'
    ((name, arguments),) = parse("hermes", [early[i : i + size] for i in range(0, len(early), size)])
    assert (name, len(json.loads(arguments)["a"])) == ("f", MAX_HELD)


def test_marks_within_marks_are_not_read_over_and_over() -> None:
    """Each is looked at for no longer than MAX_HELD, and not only when the answer ends."""
    text = '<tool_call>{"x":["' * 2000
    parser = HermesParser()
    shown = "".join(part for part in parser.feed(text) if isinstance(part, str))
    assert len(text) - len(shown) < 2 * MAX_HELD
    assert shown + "".join(map(str, parser.finish())) == text


def test_a_mark_that_is_a_special_token_is_not_shown() -> None:
    parser = MistralParser(hidden=frozenset({"[TOOL_CALLS]"}))
    assert parser.feed("[TOOL_CALLS]nothing much") + parser.finish() == ["nothing much"]
