"""POST /v1/responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from loraplex_server.api.schemas.chat import MAX_MESSAGES
from loraplex_server.api.schemas.response_items import AnyItem, Item, messages_of
from loraplex_server.api.schemas.response_tools import ResponseToolChoice, TextConfig, Tool
from loraplex_server.api.schemas.sampling import MAX_LOGPROBS, Schema, SharedFields
from loraplex_server.api.schemas.tools import MAX_TOOLS

LOGPROBS = "message.output_text.logprobs"
# What all but the first speak of cannot be part of an answer here, so there is nothing of it to include.
Includable = Literal[
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "message.input_image.image_url",
]


def _items(value: Any) -> Any:
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


class Reasoning(Schema):
    """The models here do not think apart from what they answer."""

    effort: Literal["none"] | None = None
    summary: None = None


class ResponseStreamOptions(Schema):
    """Padding against eavesdroppers is OpenAI's own, and off."""

    include_obfuscation: Literal[False] = False


class ResponseInput(Schema):
    """What the model reads; also the body of /v1/responses/input_tokens."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "sql", "input": "How many users are there?"}]},
    )

    model: str = ""
    input: Annotated[
        list[Item],
        Field(min_length=1, max_length=MAX_MESSAGES),
        BeforeValidator(_items, json_schema_input_type=str | list[Item]),
    ]
    instructions: str | None = Field(None, description="A system message before all others, of this response alone.")
    previous_response_id: str | None = Field(
        None, description="A stored response that this one goes on from. They are kept in memory: a restart forgets."
    )
    tools: list[Tool] = Field(default=[], max_length=MAX_TOOLS)
    tool_choice: ResponseToolChoice = "auto"
    parallel_tool_calls: bool = True
    text: TextConfig = TextConfig()
    truncation: Literal["disabled"] = "disabled"
    reasoning: Reasoning | None = None

    def chat_fields(self, before: Sequence[AnyItem]) -> dict[str, Any]:
        """The fields of a chat that say the same.

        Args:
            before: the conversation that it goes on from.
        """
        messages = messages_of([*before, *self.input])
        if self.instructions is not None:
            messages.insert(0, {"role": "system", "content": self.instructions})
        fields: dict[str, Any] = {"messages": messages}
        if self.text.format.type != "text":
            fields["response_format"] = self.text.format.as_chat()
        fields["tools"] = [tool.as_chat() for tool in self.tools]
        fields["tool_choice"] = self.tool_choice if isinstance(self.tool_choice, str) else self.tool_choice.as_chat()
        fields["parallel_tool_calls"] = self.parallel_tool_calls
        return fields


class ResponseRequest(SharedFields, ResponseInput):
    """Without a limit on tokens, an answer may fill what is left of the context."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"model": "sql", "input": "How many users are there?", "max_output_tokens": 64},
                {"model": "sql", "instructions": "Be brief.", "input": [{"role": "user", "content": "And today?"}]},
            ]
        }
    )

    max_output_tokens: int | None = Field(None, ge=1)
    max_tool_calls: int | None = Field(None, ge=1, description="Of OpenAI's own tools, of which there are none here.")
    include: list[Includable] = Field(default=[], fail_fast=True)
    top_logprobs: int = Field(0, ge=0, le=MAX_LOGPROBS, description="Any but 0 includes log probabilities too.")
    store: bool = Field(True, description="Keep it in memory for `previous_response_id` and GET.")
    background: Literal[False] = False
    metadata: dict[str, Annotated[str, Field(max_length=512)]] = Field(default={}, max_length=16)
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = Field(None, description="The prefix cache is automatic, and in memory.")
    service_tier: Literal["auto", "default"] = "auto"
    stream_options: ResponseStreamOptions | None = None

    @property
    def wants_logprobs(self) -> bool:
        """Whether the tokens' log probabilities are part of the answer."""
        return LOGPROBS in self.include or self.top_logprobs > 0

    @model_validator(mode="after")
    def _check_logprobs(self) -> ResponseRequest:
        if self.wants_logprobs and self.tools:
            raise ValueError("top_logprobs: log probabilities are not given beside 'tools'")
        return self

    def chat_fields(self, before: Sequence[AnyItem]) -> dict[str, Any]:
        """See ResponseInput.chat_fields."""
        shared = {name: getattr(self, name) for name in SharedFields.model_fields if name in self.model_fields_set}
        fields = shared | super().chat_fields(before)
        if self.max_output_tokens is not None:
            fields["max_completion_tokens"] = self.max_output_tokens
        if self.wants_logprobs:
            fields |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return fields
