"""POST /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from loraplex_server.api.schemas.sampling import MAX_LOGPROBS, SamplingFields, Schema
from loraplex_server.api.schemas.structured import ConstrainedFields
from loraplex_server.api.schemas.tools import MAX_TOOLS, Choice, FunctionTool, ToolCall, check_names

MAX_MESSAGES = 4096
MAX_TEMPLATE_KWARGS = 64


class TextPart(Schema):
    """The one kind of content that a text model reads."""

    type: Literal["text"]
    text: str


class Message(Schema):
    """One turn. What tools answered names the call that it answers."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)] | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(fail_fast=True)] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _check_content(self) -> Message:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("content: is missing")
        if self.tool_calls is not None and self.role != "assistant":
            raise ValueError("tool_calls: only an assistant makes them")
        if (self.role == "tool") != (self.tool_call_id is not None):
            raise ValueError("tool_call_id: a message of role 'tool' has one, and no other")
        return self

    @property
    def text(self) -> str:
        """The content as one string; parts stand on lines of their own, as in vLLM."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""


class Conversation(Schema):
    """Messages, and what else the template writes; also the body of /tokenize."""

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    tools: list[FunctionTool] = Field(
        default=[], max_length=MAX_TOOLS, description="What the model may call, where its chat template has a place."
    )
    chat_template_kwargs: dict[str, Any] = Field(
        default={},
        max_length=MAX_TEMPLATE_KWARGS,
        description="Variables that the model's chat template knows, such as `enable_thinking`.",
    )
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False

    @model_validator(mode="after")
    def _check_end(self) -> Conversation:
        if self.continue_final_message and self.add_generation_prompt:
            raise ValueError("continue_final_message: excludes 'add_generation_prompt'")
        return self

    @model_validator(mode="after")
    def _check_tools(self) -> Conversation:
        check_names(self.tools)
        return self

    @property
    def shown_tools(self) -> list[FunctionTool]:
        """Those that the model is told of."""
        return self.tools

    @property
    def opens_answer(self) -> bool:
        """Whether the template writes the beginning of the assistant's turn."""
        if self.add_generation_prompt is None:
            return not self.continue_final_message
        return self.add_generation_prompt


class ChatRequest(SamplingFields, ConstrainedFields, Conversation):
    """Without a limit on tokens, an answer may fill what is left of the context."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "sql",
                    "messages": [{"role": "user", "content": "How many users are there?"}],
                    "max_completion_tokens": 64,
                    "temperature": 0,
                }
            ]
        }
    )

    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    tool_choice: Choice = Field(
        default="auto",
        validate_default=True,
        description="`auto`; `none`: the model is not told of the tools; `required`: it calls one or more; an object "
        "that names a function: it calls that one, once; or OpenAI's `allowed_tools`. Calls that it has to make follow "
        "the functions' schemas.",
    )
    parallel_tool_calls: bool = Field(True, description="False: the answer ends with its first call.")

    @model_validator(mode="after")
    def _check_choice(self) -> ChatRequest:
        if self.tool_choice.mode == "required" and not self.tools:
            raise ValueError("tool_choice: there are no 'tools' to call")
        known = {tool.function.name for tool in self.tools}
        for name in self.tool_choice.names or ():
            if name not in known:
                raise ValueError(f"tool_choice: '{name[:200]}' is not among the 'tools'")
        return self

    @model_validator(mode="after")
    def _check_limits(self) -> ChatRequest:
        both = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(both) > 1:
            raise ValueError("max_tokens: differs from 'max_completion_tokens'")
        return self

    @model_validator(mode="after")
    def _check_logprobs(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: only allowed when 'logprobs' is true")
        return self

    @property
    def shown_tools(self) -> list[FunctionTool]:
        """Those that may be called: of no others the model is told, so that it does not call them."""
        if self.tool_choice.mode == "none":
            return []
        names = self.tool_choice.names
        return [tool for tool in self.tools if names is None or tool.function.name in names]

    @property
    def token_limit(self) -> int | None:
        """Whichever of the two spellings was used."""
        return self.max_completion_tokens or self.max_tokens
