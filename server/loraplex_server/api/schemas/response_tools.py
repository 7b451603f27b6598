"""Tools and formats as /v1/responses spells them, and as a chat does."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from loraplex_server.api.schemas.sampling import Schema
from loraplex_server.api.schemas.tools import MAX_TOOLS


def _function(value: Any) -> Any:
    """Say of a tool that only OpenAI can run that it is none of ours."""
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind != "function":
        raise ValueError(f"tools of the type {kind[:60]!r} are not served, only functions")
    return value


class ResponseTool(Schema):
    """A function that the model may call and the client runs."""

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = Field(None, description="Calls follow `parameters`. As in chats, not unless it is true.")

    def as_chat(self) -> dict[str, Any]:
        """As /v1/chat/completions has it."""
        return {"type": "function", "function": self.model_dump(exclude={"type"}, exclude_none=True)}


Tool = Annotated[ResponseTool, BeforeValidator(_function)]


class NamedFunction(Schema):
    """One of the tools."""

    type: Literal["function"]
    name: str

    def as_chat(self) -> dict[str, Any]:
        """As /v1/chat/completions has it."""
        return {"type": self.type, "function": {"name": self.name}}


class AllowedTools(Schema):
    """Only some of the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[Annotated[NamedFunction, BeforeValidator(_function)]] = Field(min_length=1, max_length=MAX_TOOLS)

    def as_chat(self) -> dict[str, Any]:
        """As /v1/chat/completions has it."""
        return {
            "type": self.type,
            "allowed_tools": {"mode": self.mode, "tools": [tool.as_chat() for tool in self.tools]},
        }


_CHOICES = ("none", "auto", "required")


def _choice(value: Any) -> Any:
    if isinstance(value, str) and value not in _CHOICES:
        raise ValueError(f"must be {', '.join(_CHOICES)}, a function or allowed_tools")
    if isinstance(value, dict):
        kind = value.get("type")
        models: dict[str, type[Schema]] = {"function": NamedFunction, "allowed_tools": AllowedTools}
        model = models.get(str(kind))
        if model is None:
            raise ValueError(f"the type {str(kind)[:60]!r} is not served, only function and allowed_tools")
        return model.model_validate(value)
    return value


ResponseToolChoice = Annotated[
    Literal["none", "auto", "required"] | NamedFunction | AllowedTools,
    BeforeValidator(_choice, json_schema_input_type=Literal["none", "auto", "required"] | NamedFunction | AllowedTools),
]


class TextFormat(Schema):
    """What the text of the answer has to be."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def _check_schema(self) -> TextFormat:
        given = [field for field in (self.name, self.schema_) if field is not None]
        if self.type == "json_schema" and len(given) < 2:
            raise ValueError("json_schema needs a 'name' and a 'schema'")
        if self.type != "json_schema" and given:
            raise ValueError("'name' and 'schema' go with the type 'json_schema', and only with that")
        return self

    def as_chat(self) -> dict[str, Any]:
        """As `response_format` of /v1/chat/completions."""
        if self.type != "json_schema":
            return {"type": self.type}
        return {"type": self.type, "json_schema": self.model_dump(exclude={"type"}, exclude_none=True, by_alias=True)}


class TextConfig(Schema):
    """`text` of a response."""

    format: TextFormat = TextFormat()
    verbosity: Literal["medium"] = "medium"
