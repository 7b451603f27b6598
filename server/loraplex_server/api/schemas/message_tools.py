"""Tools and formats as /v1/messages spells them, and as a chat does."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from loraplex_server.api.schemas.message_blocks import CacheControl
from loraplex_server.api.schemas.sampling import Schema


def _custom(value: Any) -> Any:
    """Say of a tool that only Anthropic's models know that it is none of ours."""
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind != "custom":
        raise ValueError(f"tools of the type {kind[:60]!r} are not served, only custom ones")
    return value


class CustomTool(Schema):
    """A function that the model may call and the client runs."""

    type: Literal["custom"] = "custom"
    name: str
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None
    cache_control: CacheControl | None = None
    eager_input_streaming: bool | None = Field(None, description="Input is streamed as it comes, always.")
    defer_loading: Literal[False] = False
    allowed_callers: Annotated[list[Literal["direct"]], Field(fail_fast=True)] | None = None

    def as_chat(self) -> dict[str, Any]:
        """As /v1/chat/completions has it."""
        function: dict[str, Any] = {"name": self.name, "parameters": self.input_schema}
        if self.description is not None:
            function["description"] = self.description
        if self.strict is not None:
            function["strict"] = self.strict
        return {"type": "function", "function": function}


Tool = Annotated[CustomTool, BeforeValidator(_custom)]


class MessageToolChoice(Schema):
    """Whether the model calls tools, and which."""

    type: Literal["auto", "any", "tool", "none"] = "auto"
    name: str | None = None
    disable_parallel_tool_use: bool = False

    def as_chat(self) -> Any:
        """As `tool_choice` of /v1/chat/completions."""
        if self.type == "tool":
            return {"type": "function", "function": {"name": self.name}}
        return "required" if self.type == "any" else self.type


class OutputFormat(Schema):
    """What the text of the answer has to be."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")

    def as_chat(self) -> dict[str, Any]:
        """As `response_format` of /v1/chat/completions."""
        return {"type": "json_schema", "json_schema": {"name": "output", "schema": self.schema_, "strict": True}}


class OutputConfig(Schema):
    """`high` is Anthropic's word for an effort that is not set."""

    effort: Literal["high"] | None = None
    format: OutputFormat | None = None
