"""Which format a model writes is read off its own chat template."""

from __future__ import annotations

import pytest

from loraplex_server.api.tools.formats import HERMES, LLAMA3, MISTRAL, MISTRAL_ARGS, ToolFormat, find_format

TAG = ["<|python_tag|>", "<|eot_id|>"]

# As the templates of these models say it.
SAID = [
    (r"<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>", [], HERMES),  # Qwen
    ('<tool_call>\\n\' }}{{ \'{"name": <function-name>, "arguments": <args-dict>}', TAG, HERMES),  # Hermes 3
    ('Respond in the format {"name": function name, "parameters": dictionary of argument name', TAG, LLAMA3),
    ('Respond in the format {"name": function name, "parameters": dictionary of argument name', [], None),
    ('{{- "[TOOL_CALLS] [" }}', [], MISTRAL),
    ("{{- '[TOOL_CALLS]' + call.name + '[ARGS]' + arguments }}", [], MISTRAL_ARGS),
    ("<tool_call>\n<function=name>\n<parameter=x>", [], None),  # Qwen3-Coder
    ('<tool_call>{function-name}\n<arg_key>{key}</arg_key> "arguments"', [], None),  # GLM
    ("ns ~ '<tool_call>' <invoke", [], None),  # MiniMax
    ('within <tool_call></tool_call>: <tool_calls>[{"name": ..., "arguments": ...}]</tool_calls>', [], None),  # Apriel
    ("<|im_start|>{{ tools }}", [], None),
]


@pytest.mark.parametrize(("template", "vocabulary", "expected"), SAID)
def test_the_format_is_read_off_the_template(template: str, vocabulary: list[str], expected: ToolFormat | None) -> None:
    assert find_format("auto", template, vocabulary) is expected


@pytest.mark.parametrize(
    ("name", "template", "expected"),
    [
        ("hermes", "", HERMES),
        ("llama3", "<tool_call>", LLAMA3),
        ("mistral", "", MISTRAL),
        ("mistral", "[ARGS]", MISTRAL_ARGS),
    ],
)
def test_what_the_operator_says_counts(name: str, template: str, expected: ToolFormat) -> None:
    assert find_format(name, template, []) is expected
