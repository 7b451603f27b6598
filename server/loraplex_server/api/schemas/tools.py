"""Tools that a model may call, which of them it has to, and calls of earlier turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from loraplex_server.api.schemas.sampling import Schema

MAX_TOOLS = 128
# OpenAI's letters, and those that servers of tools use to say whose a tool is.
NAME = r"^[A-Za-z0-9_.:/-]{1,128}$"

_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}
_CHOICES = (
    "must be 'none', 'auto', 'required', {'type': 'function', 'function': {'name': ...}} or {'type': 'allowed_tools', "
    "'allowed_tools': {'mode': 'auto' or 'required', 'tools': [...]}}"
)


class Function(Schema):
    """A function as the model is told of it. `strict`: whatever calls it makes follow the schema."""

    name: str = Field(pattern=NAME)
    description: str | None = None
    parameters: dict[str, Any] = Field(default=_NO_PARAMETERS, description="A JSON schema of an object.")
    strict: bool = Field(False, description="Also calls that the model makes of itself follow the schema.")

    @model_validator(mode="after")
    def _check_parameters(self) -> Function:
        if self.parameters.get("type", "object") != "object":
            raise ValueError("parameters: must be the schema of an object")
        return self


class FunctionTool(Schema):
    """The one kind of tool that a model can only ask for: OpenAI's others are run by OpenAI."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "function",
                    "function": {
                        "name": "get_weather",
                        "description": "The weather in a city, now.",
                        "parameters": {
                            "type": "object",
                            "properties": {"city": {"type": "string"}},
                            "required": ["city"],
                        },
                    },
                }
            ]
        }
    )

    type: Literal["function"] = "function"
    function: Function

    def for_template(self) -> dict[str, Any]:
        """As chat templates were trained with it."""
        function = self.function.model_dump(include={"name", "description", "parameters"}, exclude_none=True)
        return {"type": "function", "function": function}


class ToolChoice(Schema):
    """OpenAI's forms of `tool_choice` as one: the mode, and the functions that may be called (None: all)."""

    mode: Literal["none", "auto", "required"]
    names: list[str] | None = None
    once: bool = False  # one call and no more: a function was named


def _read_choice(value: Any) -> Any:
    if isinstance(value, ToolChoice):
        return value
    if isinstance(value, str) and value in ("none", "auto", "required"):
        return {"mode": value}
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "function" and isinstance(name := _name_of(value), str):
        return {"mode": "required", "names": [name], "once": True}
    allowed = value.get("allowed_tools") if kind == "allowed_tools" else None
    if isinstance(allowed, dict) and isinstance(allowed.get("tools"), list):
        names = [_name_of(tool) for tool in allowed["tools"]]
        if allowed.get("mode") in ("auto", "required") and names and all(isinstance(name, str) for name in names):
            return {"mode": allowed["mode"], "names": names}
    raise ValueError(_CHOICES)


def _name_of(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None


Choice = Annotated[
    ToolChoice,
    BeforeValidator(_read_choice, json_schema_input_type=Literal["none", "auto", "required"] | dict[str, Any]),
]


def check_names(tools: Sequence[FunctionTool]) -> None:
    """Raise a ValueError where two tools have one name."""
    names = [tool.function.name for tool in tools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"tools: the name '{twice}' is given to two")


class CalledFunction(Schema):
    """What an earlier turn called. Clients send the arguments as the JSON text that they got, or read already."""

    name: str = Field(min_length=1)
    arguments: str | dict[str, Any] = ""


class ToolCall(Schema):
    """A call of an earlier turn."""

    id: str = Field(min_length=1)
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = None  # of the stream that it came in; some clients leave it there
