"""Schemas as grammars: walked at random, which is hotter than any model, everything that they let pass is valid."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from llguidance import LLMatcher, LLTokenizer
from support.api import build_tokenizer
from support.json_schemas import fault, schemas

from loraplex_server.api.structure.grammars import json_grammar, lark_grammar
from loraplex_server.api.structure.json_schemas import JsonStyle, SchemaError

TOKENIZER = LLTokenizer(build_tokenizer().backend_tokenizer.to_str())


def matcher(grammar: str) -> LLMatcher:
    found = LLMatcher(TOKENIZER, grammar, log_level=0)
    assert not found.is_error(), found.get_error()
    return found


def walk(grammar: str, chance: random.Random, most: int = 300) -> str | None:
    """A text of the grammar; None where it did not come to an end."""
    state, tokens = matcher(grammar), list[int]()
    while len(tokens) < most:
        bits = np.unpackbits(np.frombuffer(state.compute_bitmask(), np.uint8), bitorder="little")
        allowed = [token for token in np.flatnonzero(bits).tolist() if token not in TOKENIZER.eos_tokens]
        if state.is_accepting() and (not allowed or chance.random() < 0.3):
            break
        tokens.append(chance.choice(allowed))
        assert state.consume_token(tokens[-1])
        if state.is_stopped():
            break
    else:
        return None
    return TOKENIZER.decode_bytes(tokens).decode()


def accepts(grammar: str, text: str) -> bool:
    """Whether the whole of a text is one of the grammar's."""
    state, tokens = matcher(grammar), TOKENIZER.tokenize_str(text)
    return state.try_consume_tokens(tokens) == len(tokens) and state.is_accepting()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_schema_lets_pass_is_valid(seed: int) -> None:
    chance, finished = random.Random(seed), 0
    for schema in schemas(60, seed):
        text = walk(json_grammar(schema), chance)
        if text is not None:
            finished += 1
            assert fault(schema, text) is None, (schema, text)
    assert finished > 50


NAMED = {"type": "object", "properties": {"ab": {"type": "integer"}}, "additionalProperties": {"type": "string"}}


def test_a_listed_key_cannot_be_disguised_by_an_escape() -> None:
    grammar = json_grammar(NAMED)
    assert accepts(grammar, '{"ab":1,"other":"x"}')
    for key in (r"\u0061b", r"a\u0062", r"\u0061\u0062"):
        assert json.loads(f'"{key}"') == "ab"
        assert not accepts(grammar, f'{{"{key}":"x"}}')


def test_control_characters_are_kept_where_escapes_cannot_deceive() -> None:
    for schema in ({"const": "a\x01b"}, {"type": "string", "pattern": "^a\\x01b$"}, {"enum": ["\x7f"]}):
        text = walk(json_grammar(schema), random.Random(0))
        assert text is not None
        assert fault(schema, text) is None


def test_whitespace_has_an_end() -> None:
    grammar = json_grammar({"type": "array", "items": {"type": "null"}})
    assert accepts(grammar, "[" + " " * 32 + "null]")
    assert not accepts(grammar, "[" + " " * 33 + "null]")
    assert not accepts(json_grammar({"type": "array"}, JsonStyle(whitespace="")), "[ 1]")


def test_bounds_beyond_exact_floats_move_inwards() -> None:
    most = json_grammar({"type": "integer", "minimum": 0, "maximum": 2**63 - 1})
    assert accepts(most, str(2**63 - 1024))
    assert not accepts(most, str(2**63))


REFUSED: list[tuple[Any, str]] = [
    ({"const": 2**53 + 1}, "const"),
    ({"enum": [[{"a": -(2**60) - 1}]]}, "enum"),
    ({"type": "integer", "multipleOf": 2**53 + 2}, "multipleOf"),
    ({"maximum": 10**400}, "64-bit"),
    ({"type": "object", "minProperties": 2}, "minProperties"),
    ({"type": "object", "minProperties": 3, "required": ["a"], "additionalProperties": True}, "minProperties"),
    ({"prefixItems": [{}], "additionalItems": False}, "additionalItems"),
    ({"properties": {"a": {"$id": "http://x/y", "$ref": "#/z"}}}, "$id"),
    ({"properties": {f"p{i}": {} for i in range(401)}}, "not required"),
    ({"properties": {"a": {"const": "\x01"}}}, "control character"),
    ({"required": ["a"], "patternProperties": {"\\x07": {}}}, "control character"),
    ({"x-guidance": {"lenient": True}}, "x-guidance"),
    ({"properties": []}, "properties"),
    ({"patternProperties": 3}, "patternProperties"),
    ({"patternProperties": {f"^{i}a": {} for i in range(101)}}, "patternProperties"),
    ({"required": "a"}, "required"),
    (False, "no object"),
    ("text", "no object"),
]


@pytest.mark.parametrize(("schema", "part"), REFUSED, ids=lambda value: str(value)[:50])
def test_what_would_be_read_as_something_else_is_refused(schema: Any, part: str) -> None:
    with pytest.raises(SchemaError, match=part.replace("$", r"\$")):
        json_grammar(schema)


def test_a_schema_is_nested_only_so_deep() -> None:
    schema: dict[str, Any] = {}
    for _ in range(61):
        schema = {"items": schema}
    with pytest.raises(SchemaError, match="deep"):
        json_grammar(schema)


@pytest.mark.parametrize("key", ["items", "const", "examples"])
def test_brackets_are_nested_only_so_deep(key: str) -> None:
    with pytest.raises(SchemaError, match="deep"):
        json_grammar(json.loads(f'{{"{key}":[' * 450 + "]}" * 450))


def test_the_schema_that_was_sent_stays_as_it_is() -> None:
    schema = {"type": "array", "uniqueItems": False, "items": {"maximum": 2**63 - 1, "properties": {}}}
    before = json.dumps(schema)
    json_grammar(schema, JsonStyle(closed=True))
    assert json.dumps(schema) == before


def test_schemas_inside_of_lark_are_read_in_the_same_way() -> None:
    lark = f"""
    start: "%json {{}}" /%json x/ body // %json {{"not": {{}}}}
    body: %json {json.dumps(NAMED)}
    # %json nothing
    """
    grammar = lark_grammar(lark)
    assert accepts(grammar, '%json {}%json x{"ab":1}')
    assert not accepts(grammar, r'%json {}%json x{"\u0061b":"x"}')


@pytest.mark.parametrize("begin", ['"', "/a"])
def test_what_is_not_closed_ends_with_its_line(begin: str) -> None:
    """And is passed at once, however many quotes may be in it."""
    escaped = "\\" + begin[0]
    unclosed = f"start: {begin}{escaped * 50_000} stop=1\n"
    assert lark_grammar(unclosed) == json.dumps({"grammars": [{"lark_grammar": unclosed}]})
    with pytest.raises(SchemaError, match="'stop'"):
        lark_grammar(unclosed + "a[stop=1]: b")
