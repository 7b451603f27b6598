"""Models that call tools, as far as the API sees of them: a tokenizer with marks, a template with a place for tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from loraplex_server.api.rendering.renderer import Renderer
from support.api import Api, build_tokenizer
from support.fake_engine import INFO, FakeEngine

_TURNS = (
    "{% for m in messages %}{% if m.role == 'tool' %}<|user|>[answer {{ m.tool_call_id }}]{{ m.content }}<|end|>"
    "{% else %}<|{{ m.role }}|>{{ m.content }}{% if m.tool_calls %}CALLS{% endif %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% if enable_thinking is defined and not enable_thinking %}"
    "<think></think>{% endif %}{% endif %}"
)
_TOOLS = "{% if tools %}<|system|>{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}HOW<|end|>{% endif %}"


def _template(how: str, calls: str) -> str:
    return _TOOLS.replace("HOW", how) + _TURNS.replace("CALLS", calls)


_CALL = '{"name": "{{ call.function.name }}", "KEY": {{ call.function.arguments | tojson }}}'
_EACH = "{% for call in m.tool_calls %}CALL{% endfor %}"
HERMES = _template(
    '<tool_call>\n{"name": NAME, "arguments": {...}}\n</tool_call>',
    _EACH.replace("CALL", "<tool_call>\n" + _CALL.replace("KEY", "arguments") + "\n</tool_call>"),
)
LLAMA3 = _template(
    'Answer {"name": NAME, "parameters": {...}}', _EACH.replace("CALL", _CALL.replace("KEY", "parameters"))
)
_CHECKED = "{% if call.id | length != 9 %}{{ raise_exception('ids have 9 letters') }}{% endif %}"
MISTRAL = _template(
    "[AVAILABLE_TOOLS]",
    "[TOOL_CALLS] [" + _EACH.replace("CALL", _CHECKED + _CALL.replace("KEY", "arguments") + ", ") + "]",
)
MISTRAL_ARGS = _template(
    "[AVAILABLE_TOOLS]",
    _EACH.replace(
        "CALL", _CHECKED + "[TOOL_CALLS]{{ call.function.name }}[ARGS]{{ call.function.arguments | tojson }}"
    ),
)

# Template, marks, whether these are special tokens: as in Qwen 2.5's, Hermes 3's, Llama 3.1's and Mistral's files.
MODELS: dict[str, tuple[str, list[str], bool]] = {
    "hermes": (HERMES, ["<tool_call>", "</tool_call>"], False),
    "hermes-special": (HERMES, ["<tool_call>", "</tool_call>"], True),
    "hermes-spelled": (HERMES, [], False),
    "llama3": (LLAMA3, ["<|python_tag|>"], True),
    "mistral": (MISTRAL, ["[TOOL_CALLS]"], True),
    "mistral-args": (MISTRAL_ARGS, ["[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"], True),
}


def build_tool_renderer(model: str) -> Renderer:
    """Of one of MODELS."""
    template, marks, special = MODELS[model]
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(marks, special_tokens=special)
    tokenizer.chat_template = template
    return Renderer(tokenizer, [tokenizer.eos_token_id])


def build_tool_api(model: str, adapters: Path, **settings: Any) -> Api:
    """An app over an engine that says what `say` tells it to."""
    info = msgspec.structs.replace(INFO, max_model_len=8192)
    return Api(FakeEngine(lambda request, index: [], info=info), build_tool_renderer(model), adapters, **settings)


def say(api: Api, *texts: str, per_delta: int = 1) -> None:
    """Let the answers be these texts, in turn; marks in them are the tokens that they are in the vocabulary."""
    answers = [[*api.renderer.tokenizer.encode(text).ids, *api.renderer.end_tokens] for text in texts]
    api.engine.script = lambda request, index: answers[index % len(answers)]
    api.engine.per_delta = per_delta


def calls_for(model: str, *calls: tuple[str, str]) -> str:
    """Calls, names and arguments, as one of MODELS writes them."""
    if model.startswith("hermes"):
        return "\n".join(f'<tool_call>\n{{"name": "{n}", "arguments": {a}}}\n</tool_call>' for n, a in calls)
    if model == "llama3":
        return "; ".join(f'{{"name": "{n}", "parameters": {a}}}' for n, a in calls)
    if model == "mistral":
        return "[TOOL_CALLS] [" + ", ".join(f'{{"name": "{n}", "arguments": {a}}}' for n, a in calls) + "]"
    return "".join(f"[TOOL_CALLS]{n}[ARGS]{a}" for n, a in calls)


def function(name: str, parameters: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A tool, as a request has it."""
    described = {"name": name, "description": f"what {name} does"} | more
    return {"type": "function", "function": described | ({"parameters": parameters} if parameters else {})}
