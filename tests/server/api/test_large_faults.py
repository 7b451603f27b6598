"""Bodies with very many faults: what is kept of them is bounded before they are worded."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.api.schemas.llama import LlamaRequest
from loraplex_server.api.schemas.lorax import LoraxRequest
from loraplex_server.api.schemas.messages import MessageRequest
from loraplex_server.api.schemas.responses import ResponseRequest
from loraplex_server.api.schemas.sampling import Schema
from loraplex_server.api.schemas.tokenize import DetokenizeRequest

BAD: list[Any] = [{"what": 1.5}] * 20_000
MANY = {str(number): "x" for number in range(20_000)}
# All entries at fault, of each kind of field that a request may have.
REQUESTS = (ChatRequest, CompletionRequest, LlamaRequest, LoraxRequest, MessageRequest, ResponseRequest)
INNER: list[tuple[type[Schema], dict[str, Any]]] = [
    (ChatRequest, {"messages": [{"role": "user", "content": BAD}]}),
    (ChatRequest, {"messages": [{"role": "assistant", "tool_calls": BAD}]}),
    (MessageRequest, {"max_tokens": 1, "messages": [{"role": "user", "content": BAD}]}),
    (
        MessageRequest,
        {"max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "text", "citations": BAD}]}]},
    ),
    (MessageRequest, {"max_tokens": 1, "messages": [], "tools": [{"allowed_callers": BAD}]}),
    (ResponseRequest, {"input": [{"role": "user", "content": BAD}]}),
    (ResponseRequest, {"input": [{"type": "reasoning", "summary": [1] * 20_000}]}),
    (ResponseRequest, {"input": "x", "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": BAD}}),
    (LoraxRequest, {"inputs": "x", "parameters": {"merged_adapters": {"ids": BAD, "weights": BAD}}}),
    (LlamaRequest, {"prompt": [[1.5]] * 20_000}),
    (LlamaRequest, {"prompt": ["x", 1] * 20_000}),
    (DetokenizeRequest, {"tokens": [-1] * 20_000}),
]


def faults_of(schema: type[Schema], body: dict[str, Any]) -> int:
    with pytest.raises(ValidationError) as raised:
        schema.model_validate(body)
    return raised.value.error_count()


@pytest.mark.parametrize("bad", [BAD, MANY, [-1.5] * 20_000], ids=["objects", "names", "numbers"])
@pytest.mark.parametrize("schema", REQUESTS, ids=lambda schema: schema.__name__)
def test_no_field_has_more_than_a_few_faults(schema: type[Schema], bad: Any) -> None:
    for name, field in schema.model_fields.items():
        if not (isinstance(bad, dict) and name in ("chat_template_kwargs", "json_schema")):  # any object will do
            assert faults_of(schema, {field.alias or name: bad}) < 100, name


@pytest.mark.parametrize(("schema", "body"), INNER, ids=lambda value: str(value)[:50])
def test_no_list_inside_of_a_field_has_more_than_a_few_faults(schema: type[Schema], body: dict[str, Any]) -> None:
    assert faults_of(schema, body) < 100
