"""Grammars of calls: just the answers that a parser reads as calls that follow their schemas."""

from __future__ import annotations

import dataclasses
import json
from functools import cache

import pytest
from llguidance import LLMatcher, LLTokenizer
from support.tool_models import MODELS, build_tool_renderer, calls_for

from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.tools.grammar import CallGrammar
from loraplex_server.api.tools.use import tool_use_of

CITY = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/city"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"city": {"enum": ["Köln", "Rom"]}},
}
FUNCTIONS = [("weather", json.dumps(CITY)), ("time", '{"type": "object"}')]
ROME = ("weather", '{"city": "Rom", "days": 3}')
COLOGNE = ("weather", '{"city": "Köln"}')
TIME = ("time", '{"zone": ["CET"]}')
BONN = ("weather", '{"city": "Bonn"}')


@cache
def renderer_of(model: str) -> Renderer:
    return build_tool_renderer(model)


@cache
def tokenizer_of(model: str) -> LLTokenizer:
    return LLTokenizer(renderer_of(model).tokenizer.to_str())


def grammar_of(model: str, *, many: bool = True) -> CallGrammar:
    tools = [{"type": "function", "function": {"name": name}} for name, _ in FUNCTIONS]
    body = ChatRequest.model_validate({"messages": [{"role": "user", "content": "x"}], "tools": tools})
    use = tool_use_of(body, renderer_of(model), "auto")
    assert use is not None
    return CallGrammar(use.format.syntax, FUNCTIONS, use.tokens, many=many)


def accepts(model: str, lark: str, text: str, answer: str | None = None) -> bool:
    """Whether a grammar lets a text pass, as the tokens of the model."""
    grammars = [{"name": "calls", "lark_grammar": lark}]
    if answer is not None:
        grammars.append({"name": "answer", "lark_grammar": answer})
    matcher = LLMatcher(tokenizer_of(model), json.dumps({"grammars": grammars}))
    ids = renderer_of(model).tokenizer.encode(text).ids
    assert not matcher.is_error(), matcher.get_error()
    return matcher.validate_tokens(ids) == len(ids) and (matcher.consume_tokens(ids) and matcher.is_accepting())


@pytest.mark.parametrize("model", MODELS)
def test_required_calls_are_calls_and_nothing_else(model: str) -> None:
    lark = grammar_of(model).calls()
    good = [[COLOGNE], [TIME], [ROME, TIME, COLOGNE]]
    assert [accepts(model, lark, calls_for(model, *calls)) for calls in good] == [True] * 3
    one = calls_for(model, COLOGNE)
    bad = ["", "hello", f"hello {one}", f"{one} hello", calls_for(model, BONN), calls_for(model, ("else", "{}"))]
    assert [accepts(model, lark, text) for text in bad] == [False] * len(bad)


@pytest.mark.parametrize("model", MODELS)
def test_a_single_call_is_followed_by_no_other(model: str) -> None:
    lark = grammar_of(model, many=False).calls()
    assert accepts(model, lark, calls_for(model, ROME))
    assert not accepts(model, lark, calls_for(model, ROME, TIME))


@pytest.mark.parametrize("model", MODELS)
def test_calls_of_strict_functions_are_held_from_their_mark_on(model: str) -> None:
    lark = grammar_of(model).any()
    calls, wrong = calls_for(model, ROME, TIME), calls_for(model, ROME, BONN)
    assert [accepts(model, lark, text) for text in ("", "hello\n[1] <b>", calls, wrong)] == [True, True, True, False]
    if model != "llama3":  # which calls at the beginning only
        assert accepts(model, lark, f"hello {calls}")
        assert not accepts(model, lark, f"hello {wrong}")
        assert not accepts(model, lark, calls_for(model, ROME) + calls_for(model, BONN))
    mark = {"llama3": "<|python_tag|>", "mistral": "[TOOL_CALLS]", "mistral-args": "[TOOL_CALLS]"}.get(
        model, "<tool_call>"
    )
    assert not accepts(model, lark, f"hello {mark}x")


def test_calls_behind_llamas_tag_are_held_too() -> None:
    lark = grammar_of("llama3").any()
    assert accepts("llama3", lark, "So: <|python_tag|>" + calls_for("llama3", ROME, TIME))
    assert not accepts("llama3", lark, "<|python_tag|>" + calls_for("llama3", BONN))
    assert not accepts("llama3", lark, '{"answer": 5}')  # how calls begin


@pytest.mark.parametrize("model", MODELS)
def test_an_answer_is_calls_or_of_the_form_that_was_asked_for(model: str) -> None:
    lark = grammar_of(model).calls_or("answer")
    texts = [calls_for(model, ROME), "yes", "hello", calls_for(model, BONN)]
    assert [accepts(model, lark, text, 'start: "yes" | "no"') for text in texts] == [True, True, False, False]


def test_a_mark_that_is_no_token_is_spelled() -> None:
    spelled = dataclasses.replace(grammar_of("hermes"), tokens={})
    assert "<[" not in spelled.calls()
    assert "<[300]>" in grammar_of("hermes").calls()
