"""Tools in chats: what the model is told, what its calls become, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.api import Api, events, streamed_text
from support.tool_models import MODELS, build_tool_api, calls_for, function, say

WEATHER = function("get_weather", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
TIME = function("get_time")
TWO = [("get_weather", '{"city": "Köln}"}'), ("get_time", "{}")]


def ask(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": list(messages) or [{"role": "user", "content": "hi"}], "tools": [WEATHER, TIME], **fields}


def prompt_of(api: Api, number: int = -1) -> str:
    return api.renderer.decode(api.engine.requests[number].prompt_token_ids, skip_special_tokens=False)


def calls_of(message: dict[str, Any]) -> list[tuple[str, str]]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls", ())]


def streamed_calls(chunks: list[Any], index: int = 0) -> list[tuple[str, str]]:
    """Put together as OpenAI's clients do."""
    calls: dict[int, dict[str, str]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            for delta in choice["delta"].get("tool_calls", ()) if choice["index"] == index else ():
                if delta["index"] not in calls:
                    assert delta["type"] == "function"
                    assert delta["id"].startswith("call_")
                    calls[delta["index"]] = {"name": delta["function"]["name"], "arguments": ""}
                else:
                    assert set(delta) == {"index", "function"}
                calls[delta["index"]]["arguments"] += delta["function"]["arguments"]
    assert list(calls) == list(range(len(calls)))
    return [(call["name"], call["arguments"]) for call in calls.values()]


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tool_api(model: str, adapters: Path) -> Api:
    return build_tool_api(model, adapters)


@pytest.fixture
def hermes(adapters: Path) -> Api:
    return build_tool_api("hermes", adapters)


async def test_calls_have_openai_shape(tool_api: Api, model: str) -> None:
    say(tool_api, calls_for(model, *TWO))
    choice = (await tool_api.chat(ask())).json()["choices"][0]
    first, second = choice["message"].pop("tool_calls")
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": None}
    assert (choice["finish_reason"], choice["stop_reason"]) == ("tool_calls", None)
    assert first.pop("id").startswith("call_")
    assert first == {"type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Köln}"}'}}
    assert second["function"] == {"name": "get_time", "arguments": "{}"}


@pytest.mark.parametrize("extra", [{}, {"logprobs": True}, {"return_token_ids": True}, {"n": 3}])
@pytest.mark.parametrize("per_delta", [1, 3, 1000])
async def test_a_stream_of_calls_adds_up_to_the_whole(
    tool_api: Api, model: str, extra: dict[str, Any], per_delta: int
) -> None:
    before = "" if model == "llama3" else "Let me look. "
    say(tool_api, before + calls_for(model, *TWO), "plain text", "<tool_call>[TOOL_CALLS] no", per_delta=per_delta)
    whole = (await tool_api.chat(ask(**extra))).json()
    chunks = events((await tool_api.chat(ask(**extra, stream=True))).text)
    for choice in whole["choices"]:
        index, message = choice["index"], choice["message"]
        parts = [c for chunk in chunks for c in chunk["choices"] if c["index"] == index]
        assert streamed_text(chunks, index) == (message["content"] or "")
        assert streamed_calls(chunks, index) == calls_of(message) == (TWO if index == 0 else [])
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [choice["finish_reason"]]
        assert choice["finish_reason"] == ("stop" if index else "tool_calls")
        if "logprobs" in extra:
            content = [entry for part in parts if part["logprobs"] for entry in part["logprobs"]["content"]]
            assert content == choice["logprobs"]["content"]
        if "return_token_ids" in extra:
            assert [id for part in parts for id in part.get("token_ids", [])] == choice["token_ids"]
    assert whole["choices"][0]["message"]["content"] == (before.strip() or None)


async def test_usage_comes_last_behind_calls(hermes: Api) -> None:
    say(hermes, calls_for("hermes", *TWO))
    chunks = events((await hermes.chat(ask(stream=True, stream_options={"include_usage": True}))).text)
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert chunks[-1]["usage"] == (await hermes.chat(ask())).json()["usage"]


async def test_marks_that_are_special_tokens_are_no_text(adapters: Path) -> None:
    api = build_tool_api("mistral-args", adapters)
    say(api, "[TOOL_CALLS]no call<|user|>here")
    assert (await api.chat(ask())).json()["choices"][0]["message"]["content"] == "no callhere"
    shown = (await api.chat(ask(skip_special_tokens=False))).json()["choices"][0]["message"]["content"]
    assert shown == "[TOOL_CALLS]no call<|user|>here"
    assert (await api.chat(ask(tools=[]))).json()["choices"][0]["message"]["content"] == "no callhere"


async def test_an_answer_cut_short_in_a_call_says_so(hermes: Api) -> None:
    say(hermes, calls_for("hermes", *TWO))
    body = (await hermes.chat(ask(max_tokens=50))).json()
    (call,) = body["choices"][0]["message"]["tool_calls"]
    assert '{"city": "Köln}"}'.startswith(call["function"]["arguments"])
    assert body["choices"][0]["finish_reason"] == "length"


async def test_a_stop_string_ends_calls_too(hermes: Api) -> None:
    say(hermes, calls_for("hermes", *TWO))
    choice = (await hermes.chat(ask(stop="</tool_call>"))).json()["choices"][0]
    assert calls_of(choice["message"]) == TWO[:1]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("tool_calls", "</tool_call>")


async def test_without_parallel_calls_the_first_ends_the_answer(tool_api: Api, model: str) -> None:
    say(tool_api, calls_for(model, *TWO))
    for stream in (False, True):
        response = await tool_api.chat(ask(parallel_tool_calls=False, stream=stream))
        if stream:
            chunks = events(response.text)
            assert streamed_calls(chunks) == TWO[:1]
            assert streamed_text(chunks) == ""
        else:
            choice = response.json()["choices"][0]
            assert calls_of(choice["message"]) == TWO[:1]
            assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")
    assert len(tool_api.engine.aborts) == len(tool_api.engine.requests) == 2


async def test_a_template_that_takes_one_call_at_a_time_gets_no_more(adapters: Path) -> None:
    refusal = "{% if m.tool_calls | length > 1 %}{{ raise_exception('single tool-calls only') }}{% endif %}"
    template = MODELS["llama3"][0].replace("{% if m.tool_calls %}", "{% if m.tool_calls %}" + refusal)
    api = build_tool_api("llama3", adapters).with_template(template, "<|python_tag|>")
    say(api, calls_for("llama3", *TWO))
    for stream in (False, True):
        response = await api.chat(ask(stream=stream))
        calls = streamed_calls(events(response.text)) if stream else calls_of(response.json()["choices"][0]["message"])
        assert calls == TWO[:1]


async def test_the_model_is_told_of_tools_as_it_was_trained_to_be(hermes: Api) -> None:
    say(hermes, "x")
    await hermes.chat(ask(tools=[WEATHER | {"function": WEATHER["function"] | {"strict": False}}, TIME]))
    prompt = prompt_of(hermes)
    assert json.dumps(WEATHER) in prompt
    assert json.dumps(function("get_time", {"type": "object", "properties": {}})) in prompt
    await hermes.chat({"messages": [{"role": "user", "content": "hi"}]})
    assert "get_" not in prompt_of(hermes)
    tokens = (await hermes.post("/tokenize", {"messages": ask()["messages"], "tools": [WEATHER, TIME]})).json()[
        "tokens"
    ]
    assert tokens == hermes.engine.requests[0].prompt_token_ids


async def test_what_may_not_be_called_is_not_shown_and_not_read(hermes: Api) -> None:
    call = calls_for("hermes", *TWO)
    say(hermes, call)
    choice = (await hermes.chat(ask(tool_choice="none"))).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (call, "stop")
    assert "get_" not in prompt_of(hermes)
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "get_time"}}]}
    assert (await hermes.chat(ask(tool_choice={"type": "allowed_tools", "allowed_tools": allowed}))).status_code == 200
    assert "get_time" in prompt_of(hermes)
    assert "get_weather" not in prompt_of(hermes)


def turns(arguments: Any, id: str = "call_1") -> list[dict[str, Any]]:
    called = {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    return [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": id, "content": '{"sky": "blåu"}'},
    ]


@pytest.mark.parametrize(
    ("arguments", "rendered"),
    [
        ('{"city": "Köln"}', '"arguments": {"city": "Köln"}'),
        ({"city": "Köln"}, '"arguments": {"city": "Köln"}'),
        ("", '"arguments": {}'),
        ("{bad", '"arguments": "{bad"'),  # as the model wrote it
        ("[1]", '"arguments": "[1]"'),
    ],
)
async def test_earlier_calls_are_objects_to_the_template(hermes: Api, arguments: Any, rendered: str) -> None:
    say(hermes, "x")
    assert (await hermes.chat(ask(*turns(arguments)))).status_code == 200
    assert rendered in prompt_of(hermes)
    assert '[answer call_1]{"sky": "blåu"}' in prompt_of(hermes)


async def test_a_template_that_wants_text_for_arguments_gets_it(hermes: Api) -> None:
    api = hermes.with_template(
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
        "{{ '<tool_call>' + c.function.name + '(' + c.function.arguments + ')' }}{% endfor %}{% endfor %}"
    )
    say(api, "x")
    for arguments in ('{"a": 1}', {"a": 1}):
        assert (await api.chat({"messages": turns(arguments)})).status_code == 200
        assert '<tool_call>get_weather({"a": 1})' in prompt_of(api)


async def test_an_answer_of_a_tool_has_the_name_of_its_function(hermes: Api) -> None:
    api = hermes.with_template(
        "{% for m in messages %}{% if m.role == 'tool' and not m.name %}{{ raise_exception('no name') }}{% endif %}"
        "{{ m.name }}:{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}{% endfor %}"
    )
    say(api, "x")
    assert (await api.chat({"messages": turns("{}")})).status_code == 200
    assert 'get_weather:{"sky"' in prompt_of(api)
    unasked = {"role": "tool", "tool_call_id": "other", "content": "x"}
    error = (await api.chat({"messages": [*turns("{}"), unasked]})).json()["error"]
    assert "no name" in error["message"]


@pytest.mark.parametrize("kind", ["mistral", "mistral-args"])
async def test_ids_that_mistral_refuses_are_exchanged(adapters: Path, kind: str) -> None:
    api = build_tool_api(kind, adapters)
    say(api, "x")
    for id in ("call_0123456789", "abcDEF123"):
        response = await api.chat(ask(*turns("{}", id)))
        assert response.status_code == 200, response.text
    assert "[answer abcDEF123]" in prompt_of(api)
    assert "call_0123456789" not in prompt_of(api, 0)


async def test_the_template_gets_the_requests_variables(hermes: Api) -> None:
    say(hermes, "x")
    await hermes.chat({"chat_template_kwargs": {"enable_thinking": False}})
    assert prompt_of(hermes).endswith("<think></think>")
    for name in ("enable_thinkin", "tools", "messages", "tokenize", "eos_token", "x" * 500):
        error = (await hermes.chat({"chat_template_kwargs": {name: False}})).json()["error"]
        assert error["param"] == "chat_template_kwargs"
    api = hermes.with_template("{{ messages[0].content }}{{ 1 / zero }}{{ range(many) | length }}{{ 'x'.ljust(text) }}")
    good = {"zero": 1, "many": 1, "text": 1}
    for wrong in ({}, {"zero": 0}, {"many": 10**9}, {"many": "x"}, {"text": []}):
        response = await api.chat({"chat_template_kwargs": good | wrong})
        assert response.status_code == (400 if wrong else 200), response.text
    error = (await hermes.chat({"chat_template": "{{ messages }}"})).json()["error"]
    assert (error["param"], error["code"]) == ("chat_template", "unsupported_parameter")


@pytest.mark.parametrize(
    ("template", "messages", "code", "message"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", [], "no_tools_in_template", "no place for tools"),
        ("{% if tools and 0 %}{{ tools }}{% endif %}<tool_call>", [], None, "leaves out tools"),
        (
            "{{ tools }}{% for m in messages %}{{ m.content }}{% endfor %}",
            turns("{}"),
            None,
            "leaves out calls of tools: 'get_weather'",
        ),
        ("{{ tools }}", [], "unknown_tool_format", "--tool-call-parser hermes"),
        ("{{ tools }}<tool_call><function=x>", [], "unknown_tool_format", "--tool-call-parser hermes"),
    ],
)
async def test_what_a_template_cannot_say_is_refused(
    hermes: Api, template: str, messages: list[Any], code: str | None, message: str
) -> None:
    settings = {} if code == "unknown_tool_format" else {"tool_call_parser": "hermes"}
    api = hermes.with_template(template, **settings)
    body = ask(*messages)
    if "calls of tools" in message:
        del body["tools"]
    response = await api.chat(body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, code), error
    assert message in error["message"]
    assert api.engine.requests == []


async def test_an_operator_can_choose_the_parser(adapters: Path) -> None:
    api = build_tool_api("hermes", adapters, tool_call_parser="off")
    assert (await api.chat(ask())).json()["error"]["code"] == "tools_off"
    assert (await api.chat(ask(tool_choice="none"))).status_code == 200
    api = build_tool_api("hermes", adapters, tool_call_parser="mistral")
    say(api, calls_for("mistral", *TWO))
    assert calls_of((await api.chat(ask())).json()["choices"][0]["message"]) == TWO


async def test_a_template_of_its_own_is_used_where_there_are_tools(hermes: Api) -> None:
    api = hermes.with_template({"default": "{{ messages[0].content }}", "tool_use": MODELS["hermes"][0]})
    say(api, calls_for("hermes", *TWO))
    assert calls_of((await api.chat(ask())).json()["choices"][0]["message"]) == TWO
    assert (await api.chat({})).status_code == 200
    assert prompt_of(api) == "hello"


def grammars_of(api: Api) -> list[Any]:
    """Of the last request."""
    grammar = api.engine.requests[-1].sampling.grammar
    return [] if grammar is None else json.loads(grammar)["grammars"]


NAMED = {"type": "function", "function": {"name": "get_time"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}


async def test_only_calls_that_have_to_be_right_are_held_by_a_grammar(hermes: Api) -> None:
    say(hermes, calls_for("hermes", *TWO))
    assert (await hermes.chat(ask())).status_code == 200
    assert grammars_of(hermes) == []
    strict = [WEATHER, function("get_time", strict=True)]
    for fields, starts, held in (
        ({"tool_choice": "required"}, 'start: call ( "\\n" call )*', ["get_weather", "get_time"]),
        ({"tool_choice": "required", "parallel_tool_calls": False}, "start: call\n", ["get_weather", "get_time"]),
        ({"tool_choice": NAMED}, "start: call\n", ["get_time"]),
        ({"tool_choice": ALLOWED}, 'start: call ( "\\n" call )*', ["get_time"]),
        ({"tools": strict}, "start: ( mark marked )* TEXT", ["get_weather", "get_time"]),
    ):
        response = await hermes.chat(ask(**fields))
        assert response.status_code == 200, response.text
        (grammar,) = grammars_of(hermes)
        assert grammar["lark_grammar"].startswith(starts)
        assert [name for name in ("get_weather", "get_time") if name in grammar["lark_grammar"]] == held
        assert ('"city"' in grammar["lark_grammar"]) == ("tools" not in fields and "get_weather" in held)


async def test_an_answer_of_a_form_may_also_be_a_call(hermes: Api) -> None:
    say(hermes, "x")
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    await hermes.chat(ask(response_format=form))
    calls, answer = grammars_of(hermes)
    assert calls["lark_grammar"].startswith('start: call ( "\\n" call )* | @answer')
    assert (answer["name"], answer["json_schema"]["type"]) == ("answer", "object")
    await hermes.chat(ask(response_format=form, tool_choice="required"))
    assert len(grammars_of(hermes)) == 1


@pytest.mark.parametrize("fields", [{"tool_choice": "required"}, {}])
async def test_a_schema_that_cannot_be_kept_is_refused_with_its_function(hermes: Api, fields: dict[str, Any]) -> None:
    bad = function("bad", {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}, strict=not fields)
    error = (await hermes.chat(ask(tools=[WEATHER, bad], **fields))).json()["error"]
    assert (error["param"], error["code"]) == ("tools", "invalid_grammar")
    assert "the parameters of 'bad'" in error["message"]
    assert "lark" not in error["message"].lower()
    assert hermes.engine.requests == []


async def test_required_calls_leave_no_room_for_structured_outputs(hermes: Api) -> None:
    error = (await hermes.chat(ask(tool_choice="required", structured_outputs={"choice": ["a"]}))).json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", "structured_outputs")
