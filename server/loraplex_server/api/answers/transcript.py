"""A conversation as chat templates want it, and whether a template wrote all of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from typing import Any

import pydantic_core

from loraplex_server.api.errors import bad_request
from loraplex_server.api.schemas.chat import Conversation, Message
from loraplex_server.api.schemas.tools import FunctionTool, ToolCall

# What templates are given anyway; a request's own variables may not stand in for it.
_GIVEN = frozenset({"messages", "tools", "documents", "add_generation_prompt", "raise_exception", "strftime_now"})
OVERHEAD = 16  # of each turn, call and tool, in characters
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")


def messages_for(template: str, messages: Sequence[Message], *, parsed: bool) -> list[dict[str, Any]]:
    """The messages as a template sees them.

    Args:
        parsed: the arguments of earlier calls are objects, as most templates want them, or JSON text, as others do.
    """
    short_ids = "[TOOL_CALLS]" in template  # Mistral's templates refuse all ids but those of 9 letters and digits
    seen = [_as_template_sees(message, template, parsed, short_ids) for message in messages]
    called = {call.id: call.function.name for message in messages for call in message.tool_calls or ()}
    for message, fields in zip(messages, seen, strict=True):
        # OpenAI's clients send the id alone, but some templates, as that of Hermes, want the function's name.
        if message.tool_call_id in called:
            fields.setdefault("name", called[message.tool_call_id])
    return seen


def variables_for(template: str, variables: dict[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """A request's `chat_template_kwargs`, checked.

    Args:
        taken: names that mean something else to whoever runs the template.

    Raises:
        ApiError: 400; one of them would do nothing, or stand in for what every template is given.
    """
    for name in variables:
        if (
            name in _GIVEN
            or name in taken
            or name.endswith("_token")
            or not re.search(rf"\b{re.escape(name)}\b", template)
        ):
            message = f"'chat_template_kwargs': this model's chat template has no variable '{name[:200]}'"
            raise bad_request(message, param="chat_template_kwargs")
    return variables


def check_place_for_tools(template: str) -> None:
    """Raise a 400 where a template has no place for tools."""
    if not re.search(r"\btools\b", template):
        raise bad_request(
            "This model's chat template has no place for tools: use a model that was trained to call them",
            param="tools",
            code="no_tools_in_template",
        )


def check_nothing_lost(conversation: Conversation, text: str) -> None:
    """Some templates drop in silence the roles, the calls and the tools that they do not know.

    Raises:
        ApiError: 400; it names what is not in the text.
    """
    for message in conversation.messages:
        content = message.text.strip()
        if message.role not in ("user", "assistant") and not any(form in text for form in _written(content)):
            raise bad_request(
                f"This model's chat template leaves out messages of role '{message.role}'", param="messages"
            )
        _check_names(text, [call.function.name for call in message.tool_calls or ()], "messages", "calls of tools")
    tools = [tool.function.name for tool in conversation.shown_tools]
    _check_names(text, tools, "tools", "tools where it is given these messages")


def size_of(conversation: Conversation) -> int:
    """Characters that a template writes, about."""
    calls = [call.function for message in conversation.messages for call in message.tool_calls or ()]
    tools = [tool.function for tool in conversation.shown_tools]
    return (
        sum(len(message.text) + OVERHEAD for message in conversation.messages)
        + sum(len(str(call.arguments)) + OVERHEAD for call in calls)
        + sum(len(str(tool.parameters)) + len(tool.description or "") + OVERHEAD for tool in tools)
    )


def tools_for(tools: Sequence[FunctionTool]) -> list[dict[str, Any]] | None:
    """Tools as templates see them; None, not an empty list, for none: some write a heading for any list."""
    return [tool.for_template() for tool in tools] or None


def _check_names(text: str, names: Collection[str], param: str, what: str) -> None:
    for name in names:
        if not any(form in text for form in _written(name)):
            raise bad_request(f"This model's chat template leaves out {what}: '{name[:200]}'", param=param)


def _written(text: str) -> tuple[str, ...]:
    """As it is, and as JSON has it."""
    return text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]


def _as_template_sees(message: Message, template: str, parsed: bool, short_ids: bool) -> dict[str, Any]:
    """OpenAI's developer role is the system role to templates that were written before it."""
    fields: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.role == "developer" and "developer" not in template:
        fields["role"] = "system"
    if message.name is not None:
        fields["name"] = message.name
    if message.tool_call_id is not None:
        fields["tool_call_id"] = _id(message.tool_call_id, short_ids)
    if message.tool_calls:
        fields["tool_calls"] = [_call(call, parsed, short_ids) for call in message.tool_calls]
    return fields


def _call(call: ToolCall, parsed: bool, short_ids: bool) -> dict[str, Any]:
    arguments = call.function.arguments
    if parsed and isinstance(arguments, str):
        arguments = _parsed(arguments)
    elif not parsed and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": _id(call.id, short_ids), "type": "function", "function": function}


def _parsed(arguments: str) -> str | dict[str, Any]:
    """What a model wrote wrongly once stays as it wrote it."""
    if not arguments.strip():
        return {}
    try:
        found = pydantic_core.from_json(arguments, allow_inf_nan=False)
    except ValueError:
        return arguments
    return found if isinstance(found, dict) else arguments


def _id(id: str, short: bool) -> str:
    """The same short id for the same id, for a call and for its answer."""
    if not short or _SHORT_ID.fullmatch(id):
        return id
    return hashlib.sha256(id.encode()).hexdigest()[:9]
