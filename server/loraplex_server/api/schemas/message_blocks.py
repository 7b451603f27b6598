"""Blocks of Anthropic's messages, and how they become turns of a chat."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from loraplex_server.api.schemas.kinds import of_kinds
from loraplex_server.api.schemas.response_items import add_call
from loraplex_server.api.schemas.sampling import Schema


class CacheControl(Schema):
    """Asks for what the prefix cache does anyway."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class TextBlockParam(Schema):
    """Text."""

    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None
    citations: list[dict[str, Any]] = Field(default=[], fail_fast=True)


def _blocks(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


Text = Annotated[
    list[TextBlockParam],
    Field(fail_fast=True),
    BeforeValidator(_blocks, json_schema_input_type=str | list[TextBlockParam]),
]


class ToolUseParam(Schema):
    """A call that the model made."""

    type: Literal["tool_use"]
    id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    input: dict[str, Any]
    cache_control: CacheControl | None = None
    caller: dict[str, Any] | None = None


class ToolResultParam(Schema):
    """What a call gave. `is_error` puts "Error: " before it, for templates know no other way to say so."""

    type: Literal["tool_result"]
    tool_use_id: str = Field(min_length=1)
    content: Text = Field(default=[])
    is_error: bool = False
    cache_control: CacheControl | None = None


class ThinkingParam(Schema):
    """Thoughts of an earlier turn. They are no part of the conversation: templates leave them out."""

    type: Literal["thinking", "redacted_thinking"]
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


_TAGS = {
    "text": "text",
    "tool_use": "tool_use",
    "tool_result": "tool_result",
    "thinking": "thinking",
    "redacted_thinking": "thinking",
}


def _tag(block: Any) -> str | None:
    return _TAGS.get(str(block.get("type")))


BlockParam = Annotated[
    Annotated[TextBlockParam, Tag("text")]
    | Annotated[ToolUseParam, Tag("tool_use")]
    | Annotated[ToolResultParam, Tag("tool_result")]
    | Annotated[ThinkingParam, Tag("thinking")],
    Discriminator(_tag),
    of_kinds("blocks", lambda block: block.get("type"), _TAGS),
]


class Turn(Schema):
    """One turn. Neighbours of the same role are one to the model."""

    role: Literal["user", "assistant", "system"]
    content: Annotated[
        list[BlockParam], Field(fail_fast=True), BeforeValidator(_blocks, json_schema_input_type=str | list[BlockParam])
    ]


def messages_of(turns: Iterable[Turn]) -> list[dict[str, Any]]:
    """The turns as a chat's messages, in the order of their blocks; results of calls are turns of their own."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        for block in turn.content:
            if isinstance(block, TextBlockParam):
                _add_text(messages, turn.role, block.text)
            elif isinstance(block, ToolUseParam):
                add_call(messages, block.id, block.name, block.input)
            elif isinstance(block, ToolResultParam):
                messages.append({"role": "tool", "content": _result(block), "tool_call_id": block.tool_use_id})
    return messages


def _add_text(messages: list[dict[str, Any]], role: str, text: str) -> None:
    if not messages or messages[-1]["role"] != role:
        messages.append({"role": role})
    messages[-1].setdefault("content", []).append({"type": "text", "text": text})


def _result(block: ToolResultParam) -> list[dict[str, str]]:
    texts = [part.text for part in block.content]
    if block.is_error:
        texts[:1] = [f"Error: {texts[0] if texts else 'the tool failed'}"]
    return [{"type": "text", "text": text} for text in texts]
