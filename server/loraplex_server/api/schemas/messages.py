"""POST /v1/messages and /v1/messages/count_tokens: https://platform.claude.com/docs/en/api/messages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from loraplex_server.api.schemas.chat import MAX_MESSAGES
from loraplex_server.api.schemas.message_blocks import Text, Turn, messages_of
from loraplex_server.api.schemas.message_tools import MessageToolChoice, OutputConfig, Tool
from loraplex_server.api.schemas.sampling import MAX_STOPS, Schema, SharedFields, Stop
from loraplex_server.api.schemas.tools import MAX_TOOLS


class Thinking(Schema):
    """The models here do not think apart from what they answer."""

    type: Literal["disabled"]


class MessageInput(Schema):
    """What the model reads; also the body of /v1/messages/count_tokens.

    A last turn of the assistant is the beginning of the answer. The prefix cache needs no `cache_control`.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "sql", "messages": [{"role": "user", "content": "How many users?"}]}]}
    )

    model: str = ""
    messages: Annotated[list[Turn], Field(min_length=1, max_length=MAX_MESSAGES)]
    system: Text = Field(default=[])
    tools: list[Tool] = Field(default=[], max_length=MAX_TOOLS)
    tool_choice: MessageToolChoice = MessageToolChoice()
    thinking: Thinking | None = None
    output_config: OutputConfig = OutputConfig()

    def chat_fields(self) -> dict[str, Any]:
        """The fields of a chat that say the same."""
        messages = messages_of(self.messages)
        if self.system:
            parts = [{"type": "text", "text": block.text} for block in self.system]
            messages.insert(0, {"role": "system", "content": parts})
        fields: dict[str, Any] = {"messages": messages}
        if messages and messages[-1]["role"] == "assistant":
            fields["continue_final_message"] = True
        if self.output_config.format is not None:
            fields["response_format"] = self.output_config.format.as_chat()
        if self.tools:
            fields["tools"] = [tool.as_chat() for tool in self.tools]
            fields["tool_choice"] = self.tool_choice.as_chat()
            fields["parallel_tool_calls"] = not self.tool_choice.disable_parallel_tool_use
        return fields

    @model_validator(mode="after")
    def _check_end(self) -> MessageInput:
        last = self.messages[-1]
        if last.role == "assistant" and any(block.type == "tool_use" for block in last.content):
            raise ValueError("messages: the tool_use of the last turn has no tool_result after it")
        return self

    @model_validator(mode="after")
    def _check_tools(self) -> MessageInput:
        choice = self.tool_choice
        if choice.type == "any" and not self.tools:
            raise ValueError("tool_choice: is 'any', but there are no 'tools'")
        if choice.type == "tool" and choice.name not in {tool.name for tool in self.tools}:
            raise ValueError(f"tool_choice: {str(choice.name)[:60]!r} is none of the 'tools'")
        return self


class MessageRequest(SharedFields, MessageInput):
    """With Anthropic's names where it has one, and this server's fields besides."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "sql", "max_tokens": 64, "messages": [{"role": "user", "content": "How many users?"}]},
                {
                    "model": "sql",
                    "max_tokens": 64,
                    "system": "Be brief.",
                    "messages": [{"role": "user", "content": [{"type": "text", "text": "And today?"}]}],
                    "stop_sequences": [";"],
                },
            ]
        }
    )

    max_tokens: int = Field(
        ge=1,
        description="Where the context holds less, the answer may end with `model_context_window_exceeded`.",
    )
    stop_sequences: list[Stop] = Field(default=[], max_length=MAX_STOPS)
    metadata: dict[str, str | None] = Field(
        default={}, max_length=16, description="`user_id` of whoever is behind the request."
    )
    service_tier: Literal["auto", "standard_only"] = "auto"

    @model_validator(mode="after")
    def _check_stop(self) -> MessageRequest:
        if self.stop:
            raise ValueError("stop: is called 'stop_sequences' here")
        return self

    @model_validator(mode="after")
    def _check_min_tokens(self) -> MessageRequest:
        if self.min_tokens > self.max_tokens:
            raise ValueError("min_tokens: is more than 'max_tokens'")
        return self

    def chat_fields(self) -> dict[str, Any]:
        """See MessageInput.chat_fields; the limit on tokens is not among them."""
        shared = {name: getattr(self, name) for name in SharedFields.model_fields if name in self.model_fields_set}
        return shared | super().chat_fields() | {"stop": self.stop_sequences}
