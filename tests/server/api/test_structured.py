"""Formats of answers: what reaches the engine, and what is refused before it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.api import Api, build_tokenizer, events, streamed_text
from support.fake_engine import FakeEngine

from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.engine.grammars import token_file
from loraplex_server.engine.messages import GenerateRequest

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
ENDPOINTS = ("/v1/completions", "/v1/chat/completions")


def body_for(endpoint: str, **fields: Any) -> dict[str, Any]:
    if endpoint == "/v1/completions":
        return {"prompt": "hello", **fields}
    return {"messages": [{"role": "user", "content": "hello"}], **fields}


async def asked(api: Api, endpoint: str = "/v1/completions", **fields: Any) -> GenerateRequest:
    """What the engine is asked for a request."""
    response = await api.post(endpoint, body_for(endpoint, **fields))
    assert response.status_code == 200, response.text
    assert isinstance(api.engine, FakeEngine)
    return api.engine.requests[-1]


async def refusal(api: Api, **fields: Any) -> dict[str, Any]:
    response = await api.post("/v1/completions", body_for("/v1/completions", **fields))
    assert response.status_code == 400, response.text
    return dict(response.json()["error"])


def read_token_file(path: str) -> token_file.TokenFile:
    return token_file.decode(Path(path).read_bytes())


def grammar(request: GenerateRequest) -> dict[str, Any]:
    (found,) = json.loads(request.sampling.grammar or "")["grammars"]
    return dict(found)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_a_schema_goes_to_the_engine_with_the_tokenizer_that_reads_the_request(
    api: Api, endpoint: str, renderer: Renderer
) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True, "description": "x"}}
    request = await asked(api, endpoint, response_format=form)
    schema = grammar(request)["json_schema"]
    assert {key: schema[key] for key in SCHEMA} == SCHEMA
    assert schema["x-guidance"]["lenient"] is False
    file = read_token_file(request.tokenizer)
    assert file.tokenizer == renderer.tokenizer.to_str()
    assert file.texts[renderer.tokenizer.token_to_id("a")] == b"a"
    assert file.texts[renderer.end_tokens[0]] is None


async def test_a_grammar_is_read_with_the_tokenizer_that_came_with_the_adapter(api: Api, adapters: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["jasmine"])
    tokenizer.save_pretrained(adapters / "alpha")
    fields = {"structured_outputs": {"choice": ["jasmine"]}}
    base = await asked(api, **fields)
    own = await asked(api, model="alpha", **fields)
    assert read_token_file(own.tokenizer).texts[-1] == b"jasmine"
    assert b"jasmine" not in read_token_file(base.tokenizer).texts
    again = await asked(api, model="beta", **fields)  # it brings no tokenizer
    assert again.tokenizer == base.tokenizer


async def test_without_a_format_there_is_neither_grammar_nor_tokenizer(api: Api) -> None:
    for fields in ({}, {"response_format": {"type": "text"}}, {"structured_outputs": {}}, {"structured_outputs": None}):
        request = await asked(api, **fields)
        assert (request.sampling.grammar, request.tokenizer) == (None, "")


async def test_json_object_is_any_object(api: Api) -> None:
    for fields in ({"response_format": {"type": "json_object"}}, {"structured_outputs": {"json_object": True}}):
        assert grammar(await asked(api, **fields))["json_schema"]["type"] == "object"


@pytest.mark.parametrize(
    ("structured", "kind", "part"),
    [
        ({"json": SCHEMA}, "json_schema", "integer"),
        ({"json": json.dumps(SCHEMA)}, "json_schema", "integer"),
        ({"regex": "[a-z]+"}, "lark_grammar", "[a-z]+"),
        ({"choice": ["yes", "no"]}, "lark_grammar", '"yes" | "no"'),
        ({"grammar": 'start: "a" b\nb: "c"'}, "lark_grammar", 'start: "a" b'),
        ({"grammar": 'root ::= "a" | "b"'}, "lark_grammar", "start: "),
    ],
)
async def test_each_kind_of_structured_output_becomes_a_grammar(
    api: Api, structured: dict[str, Any], kind: str, part: str
) -> None:
    found = grammar(await asked(api, structured_outputs=structured))
    assert part in json.dumps(found[kind]).replace('\\"', '"')


async def test_options_of_json_reach_the_grammar(api: Api) -> None:
    options = {"disable_additional_properties": True, "whitespace_pattern": "[ ]?"}
    open_schema = {"type": "object", "properties": {"a": {"properties": {}}, "b": {"additionalProperties": True}}}
    schema = grammar(await asked(api, structured_outputs={"json": open_schema, **options}))["json_schema"]
    assert schema["x-guidance"]["whitespace_pattern"] == "[ ]?"
    assert schema["additionalProperties"] is False
    assert schema["properties"] == {
        "a": {"properties": {}, "additionalProperties": False},
        "b": {"additionalProperties": True},
    }
    compact = {"json": dict(SCHEMA), "disable_any_whitespace": True}
    schema = grammar(await asked(api, structured_outputs=compact))["json_schema"]
    assert schema["x-guidance"]["whitespace_flexible"] is False


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"response_format": {"type": "json_schema"}}, "json_schema"),
    ({"response_format": {"type": "structural_tag"}}, "type"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "schema"),
    ({"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}}, "response_format"),
    ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "more than one"),
    ({"structured_outputs": {"structural_tag": "{}"}}, "structural_tag"),
    ({"structured_outputs": {"regex": "a", "whitespace_pattern": " "}}, "json"),
    ({"structured_outputs": {"backend": "xgrammar", "regex": "a"}}, "backend"),
    ({"structured_outputs": {"regex": "(a"}}, "unclosed group"),
    ({"structured_outputs": {"regex": "a(?=b)"}}, "look-around"),
    ({"structured_outputs": {"choice": []}}, "choice"),
    ({"structured_outputs": {"grammar": "start: unknown"}}, "unknown name"),
    ({"structured_outputs": {"grammar": "words that are none"}}, "GBNF"),
    ({"structured_outputs": {"grammar": "start: x\nx[temperature=0.1]: /a/"}}, "temperature"),
    ({"structured_outputs": {"grammar": 'start: %json {"not": {}}'}}, "not"),
    ({"structured_outputs": {"grammar": "start: %json oops"}}, "%json"),
    ({"structured_outputs": {"json": "{"}}, "JSON"),
    ({"structured_outputs": {"json": {"not": {"type": "string"}}}}, "not"),
    ({"structured_outputs": {"json": {"type": "string", "format": "password"}}}, "password"),
    ({"structured_outputs": {"json": {"oneOf": [{"type": "number"}, {"type": "integer"}]}}}, "oneOf"),
    ({"structured_outputs": {"json": {}, "whitespace_pattern": "("}}, "unclosed"),
    ({"structured_outputs": {"regex": "a" * 300_000}}, "larger"),
    ({"allowed_token_ids": []}, "allowed_token_ids"),
    ({"allowed_token_ids": [512]}, "allowed_token_ids"),
    ({"structured_outputs": {"grammar": 'root ::= "a"' + ' | "b"' * 30_000}}, "larger"),
    ({"bad_words": [""]}, "bad_words"),
    ({"structured_outputs": {"json": '{"a":' * 600 + "1" + "}" * 600}}, "deep"),
    ({"structured_outputs": {"json": {"properties": {"a": {}}, "patternProperties": 5}}}, "patternProperties"),
    ({"guided_regex": "a"}, "structured_outputs"),
]


@pytest.mark.parametrize(("fields", "part"), REFUSED, ids=lambda value: str(value)[:60])
async def test_what_cannot_be_followed_is_a_400_that_says_why(api: Api, fields: dict[str, Any], part: str) -> None:
    error = await refusal(api, **fields)
    assert part in error["message"]
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) < 1000
    assert api.engine.requests == []


async def test_bad_words_are_banned_with_and_without_a_space_before_them(api: Api, renderer: Renderer) -> None:
    request = await asked(api, bad_words=["the", " quick brown"])
    encode = renderer.tokenizer.encode
    assert set(request.sampling.bad_words) >= {tuple(encode("the").ids), tuple(encode("quick brown").ids)}
    assert tuple(encode(" the").ids) in request.sampling.bad_words


async def test_bad_words_of_white_space_are_banned_as_they_are(api: Api, renderer: Renderer) -> None:
    request = await asked(api, bad_words=["\n", " "])
    assert set(request.sampling.bad_words) >= {tuple(renderer.tokenizer.encode(word).ids) for word in ("\n", " ")}


async def test_allowed_token_ids_reach_the_engine(api: Api) -> None:
    assert (await asked(api, allowed_token_ids=[9, 7, 9])).sampling.allowed_token_ids == (9, 7)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_last_token_is_shown_where_the_grammar_ended_the_answer(
    api: Api, engine: FakeEngine, renderer: Renderer, says: Callable[..., FakeEngine], stream: bool
) -> None:
    says("hello there", end=False)
    engine.ends_by_grammar = True
    fields = {"structured_outputs": {"choice": ["hello there"]}, "stream": stream, "return_token_ids": True}
    response = await api.complete({"prompt": "x", **fields})
    if stream:
        chunks = events(response.text)
        assert streamed_text(chunks) == "hello there"
        assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    else:
        (choice,) = response.json()["choices"]
        assert (choice["text"], choice["finish_reason"]) == ("hello there", "stop")


async def test_the_engine_word_on_a_grammar_is_a_400(api: Api, engine: FakeEngine) -> None:
    from loraplex_server.engine.interface import InvalidRequestError

    engine.failure = InvalidRequestError('the grammar cannot be followed: unknown special token: "<|x|>"')
    error = await refusal(api, structured_outputs={"grammar": "start: <|x|>"}, stream=True)
    assert "unknown special token" in error["message"]


@pytest.mark.parametrize(
    ("form", "part"),
    [({"type": "json_object"}, '"object"'), ({"type": "json_object", "schema": SCHEMA}, '"integer"')],
)
async def test_lorax_names_its_schema_beside_the_type(api: Api, form: dict[str, Any], part: str) -> None:
    response = await api.post("/generate", {"inputs": "hello", "parameters": {"response_format": form}})
    assert response.status_code == 200, response.text
    assert isinstance(api.engine, FakeEngine)
    assert part in json.dumps(grammar(api.engine.requests[-1]))


@pytest.mark.parametrize(
    ("fields", "part"),
    [({"grammar": 'root ::= "a" | "b"'}, "start: "), ({"json_schema": SCHEMA}, '"integer"')],
)
async def test_llama_cpp_names_a_grammar_or_a_schema(api: Api, fields: dict[str, Any], part: str) -> None:
    response = await api.post("/completion", {"prompt": "hello", **fields})
    assert response.status_code == 200, response.text
    assert isinstance(api.engine, FakeEngine)
    assert part in json.dumps(grammar(api.engine.requests[-1]))
    both = {"prompt": "hello", "grammar": 'root ::= "a"', "json_schema": {}}
    assert (await api.post("/completion", both)).status_code == 400


@pytest.mark.parametrize(
    "form",
    [
        {"json": '{"type": "number", "maximum": Infinity}'},
        {"json": '{"type": "number", "maximum": 1e999}'},
        {"json": '{"const": "\\ud800"}'},
        {"grammar": 'start: %json {"const": "\\ud800"}'},
    ],
    ids=["infinity", "overflow", "surrogate", "lark"],
)
async def test_what_no_json_can_say_is_the_askers_fault(api: Api, form: dict[str, Any]) -> None:
    error = await refusal(api, structured_outputs=form)
    assert (error["param"], error["code"]) == ("structured_outputs", "invalid_grammar")
