"""Each field: served, harmless, or refused by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.api import Api
from support.fake_engine import FakeEngine

from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.api.schemas.fields import KNOWN

Says = Callable[..., FakeEngine]

SERVED = [
    ("temperature", 0, "temperature", 0.0),
    ("temperature", 1.5, "temperature", 1.5),
    ("top_p", 0.5, "top_p", 0.5),
    ("top_k", 7, "top_k", 7),
    ("top_k", -1, "top_k", 0),
    ("top_k", 511, "top_k", 511),
    ("top_k", 512, "top_k", 0),
    ("top_k", 2**63, "top_k", 0),
    ("temperature", 1e-6, "temperature", 0.0),
    ("temperature", 1e-5, "temperature", 1e-5),
    ("min_p", 0.1, "min_p", 0.1),
    ("seed", -5, "seed", -5),
    ("seed", 2**63 - 1, "seed", 2**63 - 1),
    ("presence_penalty", -2, "presence_penalty", -2.0),
    ("frequency_penalty", 2, "frequency_penalty", 2.0),
    ("repetition_penalty", 1.2, "repetition_penalty", 1.2),
    ("logit_bias", {"5": -100, "511": 100}, "logit_bias", {5: -100.0, 511: 100.0}),
    ("max_tokens", 9, "max_tokens", 9),
    ("min_tokens", 4, "min_tokens", 4),
    ("ignore_eos", True, "stop_token_ids", ()),
    ("stop_token_ids", [9, 9, 8], "stop_token_ids", (1, 9, 8)),
    ("prompt_logprobs", 1, "prompt_logprobs", 1),
]

HARMLESS: list[tuple[str, Any]] = [
    ("user", "someone"),
    ("metadata", {"a": "b"}),
    ("store", False),
    ("service_tier", "auto"),
    ("service_tier", "default"),
    ("safety_identifier", "x"),
    ("prompt_cache_key", "x"),
    ("parallel_tool_calls", True),
    ("tools", []),
    ("tools", None),
    ("tool_choice", "none"),
    ("response_format", {"type": "text"}),
    ("modalities", ["text"]),
    ("logprobs", False),
    ("logprobs", None),
    ("best_of", 1),
    ("use_beam_search", False),
    ("structured_outputs", {}),
    ("priority", 0),
    ("guided_json", None),
    ("stream_options", None),
    ("stop", None),
    ("stop", []),
    ("logit_bias", None),
    ("n", None),
    ("max_tokens", None),
    ("adapters", []),
    ("seed", None),
    ("no_stop_trim", False),
    ("return_hidden_states", False),
    ("separate_reasoning", True),
    ("stream_reasoning", True),
]

REFUSED: list[tuple[str, Any]] = [
    ("guided_json", {}),
    ("store", True),
    ("store", 0),
    ("modalities", ["text", "audio"]),
    ("use_beam_search", True),
    ("lora_path", "/etc"),
    ("adapter_id", "alpha"),
    ("reasoning_effort", "high"),
    ("chat_template", "{{ x }}"),
    ("no_stop_trim", True),
    ("return_hidden_states", True),
]

BAD: list[tuple[str, Any]] = [
    ("temperature", -0.1),
    ("temperature", 100.5),
    ("temperature", 1e300),
    ("temperature", 10**400),
    ("temperature", "0.5"),
    ("temperature", True),
    ("top_p", 0),
    ("top_p", 1.1),
    ("top_k", -2),
    ("top_k", 1.5),
    ("min_p", 1.01),
    ("n", 0),
    ("n", 129),
    ("n", 1.0),
    ("seed", 2**63),
    ("presence_penalty", 2.1),
    ("frequency_penalty", -2.1),
    ("repetition_penalty", 0),
    ("repetition_penalty", 1e-300),
    ("repetition_penalty", 1e300),
    ("logit_bias", {"5": 101}),
    ("logit_bias", {"x": 1}),
    ("logit_bias", {"512": 1}),
    ("logit_bias", [1]),
    ("stop", ""),
    ("stop", ["a", ""]),
    ("stop", ["a"] * 17),
    ("stop", [1]),
    ("stop_token_ids", [-1]),
    ("stop_token_ids", [512]),
    ("stop_token_ids", ["a"]),
    ("min_tokens", -1),
    ("min_tokens", 257),
    ("max_tokens", -1),
    ("max_tokens", 2.5),
    ("stream", "true"),
    ("stream", 1),
    ("stream_options", {"include_usage": True}),
    ("model", 5),
    ("adapters", [{"weight": 1}]),
    ("adapters", [{"name": "alpha"}, {"name": "alpha"}]),
    ("adapters", [{"name": "alpha", "weight": "1"}]),
    ("adapters", [{"name": "alpha", "weight": 1000.5}]),
    ("adapters", [{"name": "alpha", "weight": -1e300}]),
    ("adapters", [{"name": "alpha", "weight": 10**400}]),
    ("adapters", [{"name": "alpha", "path": "/etc"}]),
    ("adapters", "alpha"),
    ("ignore_eos", 1),
    ("service_tier", "priority"),
    ("prompt_logprobs", -1),
    ("truncate_prompt_tokens", -2),
    ("truncation_side", "middle"),
    ("return_tokens_as_token_ids", 1),
    ("request_id", "two words"),
]

ENDPOINTS = ["/v1/completions", "/v1/chat/completions"]


def body_for(endpoint: str, **fields: Any) -> dict[str, Any]:
    prompt = {"prompt": "hi"} if endpoint == ENDPOINTS[0] else {"messages": [{"role": "user", "content": "hi"}]}
    return prompt | fields


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("field", "value", "parameter", "expected"), SERVED)
async def test_a_served_field_reaches_the_engine(
    api: Api, says: Says, endpoint: str, field: str, value: Any, parameter: str, expected: Any
) -> None:
    says("x")
    response = await api.post(endpoint, body_for(endpoint, **{field: value}))
    assert response.status_code == 200, response.text
    assert getattr(api.engine.requests[0].sampling, parameter) == expected


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("field", "value"), HARMLESS)
async def test_a_value_that_changes_nothing_is_accepted(
    api: Api, says: Says, endpoint: str, field: str, value: Any
) -> None:
    says("x")
    assert (await api.post(endpoint, body_for(endpoint))).status_code == 200
    response = await api.post(endpoint, body_for(endpoint, **{field: value}))
    assert response.status_code == 200, response.text
    plain, given = api.engine.requests
    assert (given.sampling, given.adapters, given.n) == (plain.sampling, plain.adapters, plain.n)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("field", "value"), REFUSED)
async def test_a_value_that_would_change_the_answer_is_refused_by_name(
    api: Api, endpoint: str, field: str, value: Any
) -> None:
    response = await api.post(endpoint, body_for(endpoint, **{field: value}))
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, field, "unsupported_parameter")
    assert f"'{field}'" in error["message"]
    assert error["type"] == "invalid_request_error"
    assert api.engine.requests == []


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("field", "value"), BAD)
async def test_a_bad_value_is_refused_by_name(api: Api, endpoint: str, field: str, value: Any) -> None:
    response = await api.post(endpoint, body_for(endpoint, **{field: value}))
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, field), error
    assert field in error["message"]
    assert api.engine.requests == []


@pytest.mark.parametrize(
    ("endpoint", "body", "param"),
    [
        (ENDPOINTS[0], {}, "prompt"),
        (ENDPOINTS[0], {"prompt": ""}, "prompt"),
        (ENDPOINTS[0], {"prompt": []}, "prompt"),
        (ENDPOINTS[0], {"prompt": [[]]}, "prompt"),
        (ENDPOINTS[0], {"prompt": ["a", ""]}, "prompt"),
        (ENDPOINTS[0], {"prompt": 5}, "prompt"),
        (ENDPOINTS[0], {"prompt": [1.5]}, "prompt"),
        (ENDPOINTS[0], {"prompt": [True]}, "prompt"),
        (ENDPOINTS[0], {"prompt": [512]}, "prompt"),
        (ENDPOINTS[0], {"prompt": [-1]}, "prompt"),
        (ENDPOINTS[0], {"prompt": [10**30]}, "prompt"),
        (ENDPOINTS[0], {"prompt": ["a"] * 1025}, "prompt"),
        (ENDPOINTS[0], {"prompt": ["a"] * 100, "n": 100}, "n"),
        (ENDPOINTS[0], {"prompt": "a", "max_tokens": 0}, "max_tokens"),
        (ENDPOINTS[0], {"prompt": "a", "logprobs": 21}, "logprobs"),
        (ENDPOINTS[0], {"prompt": "a", "logprobs": True}, "logprobs"),
        (ENDPOINTS[0], {"prompt": "a", "suffix": "b"}, "suffix"),
        (ENDPOINTS[0], {"prompt": "a", "max_completion_tokens": 5}, "max_completion_tokens"),
        (ENDPOINTS[0], {"prompt": "a", "tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        (ENDPOINTS[0], {"prompt": "a", "tool_choice": "required"}, "tool_choice"),
        (ENDPOINTS[0], {"prompt": "a", "chat_template_kwargs": {"a": 1}}, "chat_template_kwargs"),
        (ENDPOINTS[1], {"messages": []}, "messages"),
        (ENDPOINTS[1], {"messages": "hi"}, "messages"),
        (ENDPOINTS[1], {"messages": [{"role": "user"}]}, "messages"),
        (ENDPOINTS[1], {"messages": [{"role": "king", "content": "x"}]}, "messages"),
        (ENDPOINTS[1], {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        (ENDPOINTS[1], {"messages": [{"role": "user", "content": "x", "extra": 1}]}, "messages"),
        (ENDPOINTS[1], {"messages": [{"role": "tool", "content": "x"}]}, "messages"),
        (ENDPOINTS[1], {"messages": [{"role": "user", "content": "x", "tool_call_id": "c"}]}, "messages"),
        (ENDPOINTS[1], {"messages": [{"role": "user", "content": "x", "tool_calls": []}]}, "messages"),
        (ENDPOINTS[1], {"tools": [{"type": "web_search"}]}, "tools"),
        (ENDPOINTS[1], {"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools"),
        (ENDPOINTS[1], {"tools": [{"type": "function", "function": {"name": "f"}}] * 2}, "tools"),
        (
            ENDPOINTS[1],
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}]},
            "tools",
        ),
        (ENDPOINTS[1], {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),  # not in the template
        (ENDPOINTS[1], {"tool_choice": "required"}, "tool_choice"),
        (ENDPOINTS[1], {"tool_choice": "any"}, "tool_choice"),
        (ENDPOINTS[1], {"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        (ENDPOINTS[1], {"functions": [{"name": "f"}]}, "functions"),
        (ENDPOINTS[1], {"function_call": {"name": "f"}}, "function_call"),
        (ENDPOINTS[1], {"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs"),
        (ENDPOINTS[1], {"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
        (ENDPOINTS[1], {"max_tokens": 0}, "max_tokens"),
        (ENDPOINTS[1], {"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
        (ENDPOINTS[1], {"top_logprobs": 2}, "top_logprobs"),
        (ENDPOINTS[1], {"logprobs": 2}, "logprobs"),
        (ENDPOINTS[1], {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (ENDPOINTS[1], {"echo": True}, "echo"),
        (ENDPOINTS[1], {"prompt": "x"}, "prompt"),
        (ENDPOINTS[1], {"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message"),
    ],
)
async def test_what_only_one_endpoint_takes_is_checked_there(
    api: Api, endpoint: str, body: dict[str, Any], param: str
) -> None:
    if endpoint == ENDPOINTS[1] and "messages" not in body:
        body = body_for(endpoint, **body)
    response = await api.post(endpoint, body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param), response.text
    assert api.engine.requests == []


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_an_unknown_field_is_refused_with_its_likely_spelling(api: Api, endpoint: str) -> None:
    response = await api.post(endpoint, body_for(endpoint, temprature=0.5))
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, "temprature", "unknown_parameter")
    assert "did you mean 'temperature'?" in error["message"]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["temperature", "top_p", "repetition_penalty", "logit_bias", "weight"])
async def test_numbers_that_are_none_are_refused(api: Api, field: str, text: str) -> None:
    value = {"logit_bias": f'{{"5": {text}}}', "weight": text}.get(field, text)
    name = f'"adapters": [{{"name": "alpha", "weight": {value}}}]' if field == "weight" else f'"{field}": {value}'
    headers = {"content-type": "application/json"}
    async with api.client() as client:
        response = await client.post("/v1/completions", content=f'{{"prompt": "x", {name}}}', headers=headers)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_every_field_of_the_openai_client_is_known() -> None:
    from openai.types import completion_create_params
    from openai.types.chat import completion_create_params as chat_create_params

    for schema, params in (
        (CompletionRequest, completion_create_params.CompletionCreateParamsBase),
        (ChatRequest, chat_create_params.CompletionCreateParamsBase),
    ):
        unknown = set(params.__annotations__) - KNOWN - set(schema.model_fields)
        assert unknown <= {"stream"}, unknown


async def test_a_null_is_the_default_everywhere(api: Api, says: Says) -> None:
    says("x")
    names = (set(CompletionRequest.model_fields) | KNOWN) - {"prompt"}
    response = await api.complete({"prompt": "hi", **dict.fromkeys(names)})
    assert response.status_code == 200, response.text
    names = (set(ChatRequest.model_fields) | KNOWN) - {"messages"}
    assert (await api.chat(dict.fromkeys(names))).status_code == 200
    assert json.loads(response.text)["choices"][0]["text"] == "x"
