"""Calls that a real engine has to make, at a temperature at which the demo's model writes nothing of use by itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest
from support.servers import DEMO, Server, serving
from support.tool_models import HERMES, function

SCHEMAS: dict[str, dict[str, Any]] = {
    "weather": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 1, "maxLength": 12},
            "unit": {"enum": ["celsius", "fahrenheit"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
        },
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
    "plan": {
        "type": "object",
        "properties": {
            "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}, "minItems": 1, "maxItems": 2},
            "when": {"type": "string", "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])$"},
        },
        "required": ["steps", "when"],
        "additionalProperties": False,
        "$defs": {
            "step": {
                "type": "object",
                "properties": {
                    "do": {"enum": ["go", "wait", "eat"]},
                    "far": {"anyOf": [{"type": "null"}, {"type": "number", "minimum": 0, "maximum": 9}]},
                },
                "required": ["do", "far"],
                "additionalProperties": False,
            }
        },
    },
    "stop": {"type": "object", "properties": {}, "additionalProperties": False},
}
TOOLS: list[Any] = [function(name, schema) for name, schema in SCHEMAS.items()]
HELLO: Any = {"role": "user", "content": "what now?"}


@pytest.fixture(scope="module", params=["spelled", "token"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The demo's base with a template that has a place for tools; a call's mark is text, or a token as Qwen has it."""
    folder = tmp_path_factory.mktemp("tools")
    shutil.copytree(DEMO / "base", folder / "base")
    if request.param == "token":
        _rename_token(folder / "base" / "tokenizer.json", "<|pad|>", "<tool_call>")
        config = folder / "base" / "tokenizer_config.json"
        config.write_text(config.read_text(encoding="utf-8").replace("<|pad|>", "<|end|>"), encoding="utf-8")
    (folder / "base" / "chat_template.jinja").write_text("{{ bos_token }}" + HERMES, encoding="utf-8")
    with serving(["serve", str(folder / "base"), "--served-model-name", "base"], folder / "log") as server:
        yield server


def _rename_token(path: Path, old: str, new: str) -> None:
    """Give a special token that no answer has another name, and make it a plain one."""
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    (token,) = (each for each in tokenizer["added_tokens"] if each["content"] == old)
    token |= {"content": new, "special": False}
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary[new] = vocabulary.pop(old)
    path.write_text(json.dumps(tokenizer), encoding="utf-8")


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0, timeout=300) as client:
        yield client


def ask(client: openai.OpenAI, seed: int, **options: Any) -> Any:
    asked = {"temperature": 1.5, "seed": seed, "n": 4, "max_tokens": 400, "tools": TOOLS, **options}
    return client.chat.completions.create(model="base", messages=[HELLO], **asked)


def check(calls: list[Any]) -> None:
    for call in calls:
        jsonschema.validate(json.loads(call.function.arguments), SCHEMAS[call.function.name])


def test_required_calls_follow_their_schemas(client: openai.OpenAI) -> None:
    finished = 0
    for seed in range(3):
        for choice in ask(client, seed, tool_choice="required", parallel_tool_calls=False).choices:
            assert choice.message.content is None
            (call,) = choice.message.tool_calls
            if choice.finish_reason == "tool_calls":
                check([call])
                finished += 1
    assert finished >= 8


def test_several_calls_follow_their_schemas(client: openai.OpenAI) -> None:
    for choice in ask(client, 1, tool_choice="required").choices:
        check(choice.message.tool_calls if choice.finish_reason == "tool_calls" else choice.message.tool_calls[:-1])
        assert choice.message.content is None


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_named_function_is_called_once(client: openai.OpenAI, name: str) -> None:
    for choice in ask(client, 2, tool_choice={"type": "function", "function": {"name": name}}).choices:
        (call,) = choice.message.tool_calls
        assert call.function.name == name
        if choice.finish_reason == "tool_calls":
            check([call])


def test_a_stream_of_required_calls_is_the_whole_answer(client: openai.OpenAI) -> None:
    def parts(message: Any) -> list[tuple[str, str]]:
        return [(call.function.name, call.function.arguments) for call in message.tool_calls]

    whole = ask(client, 3, n=1, tool_choice="required").choices[0]
    options: Any = {"temperature": 1.5, "seed": 3, "max_tokens": 400, "tools": TOOLS, "tool_choice": "required"}
    names: list[str] = []
    arguments: list[str] = []
    for chunk in client.chat.completions.create(model="base", messages=[HELLO], stream=True, **options):
        for call in chunk.choices[0].delta.tool_calls or ():
            if call.function.name:
                names.append(call.function.name)
                arguments.append("")
            arguments[-1] += call.function.arguments
    assert list(zip(names, arguments, strict=True)) == parts(whole.message)


def test_strict_functions_are_called_rightly_or_not_at_all(client: openai.OpenAI) -> None:
    strict = [function(name, schema, strict=True) for name, schema in SCHEMAS.items()]
    for choice in ask(client, 4, tools=strict, max_tokens=60).choices:
        whole = choice.message.tool_calls or []
        check(whole if choice.finish_reason != "length" else whole[:-1])
