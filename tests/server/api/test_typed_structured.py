"""Formats of the text in /v1/responses and /v1/messages: the grammar is the one that a chat has."""

from __future__ import annotations

from typing import Any

import pytest
from support.api import Api

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
MESSAGES = [{"role": "user", "content": "hello"}]


async def grammar(api: Api, path: str, body: dict[str, Any]) -> str | None:
    response = await api.post(path, body)
    assert response.status_code == 200, response.text
    return api.engine.requests[-1].sampling.grammar


def as_response(schema: Any) -> dict[str, Any]:
    return {"input": "hello", "text": {"format": {"type": "json_schema", "name": "person", "schema": schema}}}


def as_message(schema: Any) -> dict[str, Any]:
    format = {"type": "json_schema", "schema": schema}
    return {"messages": MESSAGES, "max_tokens": 9, "output_config": {"format": format}}


async def test_a_schema_becomes_the_same_grammar_everywhere(api: Api) -> None:
    named = {"name": "person", "schema": SCHEMA, "strict": True}
    chat = {"messages": MESSAGES, "response_format": {"type": "json_schema", "json_schema": named}}
    expected = await grammar(api, "/v1/chat/completions", chat)
    assert expected is not None
    assert await grammar(api, "/v1/responses", as_response(SCHEMA)) == expected
    assert await grammar(api, "/v1/messages", as_message(SCHEMA)) == expected


async def test_any_object_and_any_text(api: Api) -> None:
    chat = {"messages": MESSAGES, "response_format": {"type": "json_object"}}
    expected = await grammar(api, "/v1/chat/completions", chat)
    any_object = {"input": "hello", "text": {"format": {"type": "json_object"}}}
    assert await grammar(api, "/v1/responses", any_object) == expected
    assert await grammar(api, "/v1/responses", {"input": "hello", "text": {"format": {"type": "text"}}}) is None


@pytest.mark.parametrize("schema", ["no object", {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}])
async def test_a_schema_that_cannot_be_followed_is_refused(api: Api, schema: Any) -> None:
    for path, body in (("/v1/responses", as_response(schema)), ("/v1/messages", as_message(schema))):
        response = await api.post(path, body)
        assert response.status_code == 400, response.text
    assert api.engine.requests == []
