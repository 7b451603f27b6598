"""Items of a response's input, and how they become turns of a chat."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, TypeAdapter

from loraplex_server.api.schemas.kinds import of_kinds
from loraplex_server.api.schemas.sampling import Schema

Status = Literal["in_progress", "completed", "incomplete"]


# There may be many, which are neither looked at nor kept.
Unread = Annotated[list[Any], AfterValidator(lambda _: [])]


class InputText(Schema):
    """A part of a message; `output_text` is one of an earlier answer, whose annotations and log probabilities say
    nothing to the model."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: Unread = Field(default=[])
    logprobs: Unread = Field(default=[])


def _parts(value: Any) -> Any:
    return [{"type": "input_text", "text": value}] if isinstance(value, str) else value


Text = Annotated[
    list[InputText], Field(fail_fast=True), BeforeValidator(_parts, json_schema_input_type=str | list[InputText])
]


# Of what Python keeps for an object: a part of a message, or a member of a nested one.
PART_BYTES = 600
MEMBER_BYTES = 100


def _size(*texts: str | None) -> int:
    return sum(sys.getsizeof(text) for text in texts if text is not None)


def _size_of(text: list[InputText]) -> int:
    return sum(sys.getsizeof(part.text) + PART_BYTES for part in text)


def _size_of_any(parts: list[dict[str, Any]]) -> int:
    shown = str(parts)
    return sys.getsizeof(shown) + MEMBER_BYTES * sum(map(shown.count, "{[,"))


class MessageItem(Schema):
    """A turn. `id`, `status` and `phase` are those of an earlier answer that is sent back."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Text
    id: str | None = None
    status: Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None

    @property
    def nbytes(self) -> int:
        """Of all that is in it, about."""
        return _size(self.id) + _size_of(self.content)


class FunctionCallItem(Schema):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    arguments: str
    id: str | None = None
    status: Status | None = None

    @property
    def nbytes(self) -> int:
        """Of all that is in it, about."""
        return _size(self.id, self.call_id, self.name, self.arguments)


class FunctionOutputItem(Schema):
    """What a call gave."""

    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1)
    output: Text
    id: str | None = None
    status: Status | None = None

    @property
    def nbytes(self) -> int:
        """Of all that is in it, about."""
        return _size(self.id, self.call_id) + _size_of(self.output)


class ReasoningItem(Schema):
    """Thoughts of an earlier answer. They are no part of the conversation: templates leave them out."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[dict[str, Any]] = Field(default=[], fail_fast=True)
    content: list[dict[str, Any]] = Field(default=[], fail_fast=True)
    encrypted_content: str | None = None
    status: Status | None = None

    @property
    def nbytes(self) -> int:
        """Of all that is in it, about."""
        return _size(self.id, self.encrypted_content) + _size_of_any(self.summary) + _size_of_any(self.content)


SERVED = ("message", "function_call", "function_call_output", "reasoning")


def _kind(item: Any) -> Any:
    """What only has a role and a content is a message."""
    return item.get("type") or "message"


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
    of_kinds("items", _kind, SERVED),
]
AnyItem = MessageItem | FunctionCallItem | FunctionOutputItem | ReasoningItem


_ITEMS: TypeAdapter[list[AnyItem]] = TypeAdapter(list[Item])


def parse_items(items: list[dict[str, Any]]) -> list[AnyItem]:
    """Items of an output, as they would be read if they were sent back.

    Raises:
        ValidationError: they are none.
    """
    return _ITEMS.validate_python(items)


def messages_of(items: Iterable[AnyItem]) -> list[dict[str, Any]]:
    """The items as a chat's messages. Calls stand in the assistant's turn before them, or in one of their own."""
    messages: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item, MessageItem):
            messages.append({"role": item.role, "content": _content(item.content)})
        elif isinstance(item, FunctionOutputItem):
            messages.append({"role": "tool", "content": _content(item.output), "tool_call_id": item.call_id})
        elif isinstance(item, FunctionCallItem):
            add_call(messages, item.call_id, item.name, item.arguments)
    return messages


def add_call(messages: list[dict[str, Any]], id: str, name: str, arguments: str | dict[str, Any]) -> None:
    """Add a call to the assistant's turn that ends the messages, or in a new one."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant"})
    calls = messages[-1].setdefault("tool_calls", [])
    calls.append({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})


def _content(text: list[InputText]) -> list[dict[str, str]]:
    return [{"type": "text", "text": part.text} for part in text]
