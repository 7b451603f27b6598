"""What an answer must look like: OpenAI's `response_format`, vLLM's `structured_outputs`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from loraplex_server.api.schemas.sampling import Schema

MAX_BAD_WORDS = 1024

Text = Annotated[str, Field(min_length=1)]


class JsonSchemaFormat(Schema):
    """The schema is always kept to, `strict` or not."""

    name: Text
    description: str | None = None
    json_schema: dict[str, Any] = Field(alias="schema")
    strict: bool = False


class ResponseFormat(Schema):
    """Any text, any JSON object, or JSON of a schema."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"type": "json_object"},
                {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "city",
                        "schema": {
                            "type": "object",
                            "properties": {"name": {"type": "string"}, "people": {"type": "integer", "minimum": 0}},
                            "required": ["name", "people"],
                            "additionalProperties": False,
                        },
                    },
                },
            ]
        }
    )

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _check_schema(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema: goes with the type 'json_schema', and only with that")
        return self


class StructuredOutputs(Schema):
    """One of `json`, `regex`, `choice`, `grammar` and `json_object`; or none, and any text will do."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"choice": ["yes", "no"]}, {"regex": "[0-9]{3}-[0-9]{4}"}]}
    )

    json_schema: dict[str, Any] | Text | None = Field(None, alias="json", description="A schema, or its text.")
    regex: Text | None = Field(None, description="Matches the whole answer.")
    choice: list[str] | None = Field(None, min_length=1, max_length=10_000)
    grammar: Text | None = Field(None, description="In Lark's syntax as llguidance has it, or llama.cpp's GBNF.")
    json_object: bool = False
    disable_any_whitespace: bool = Field(False, description="No whitespace between the parts of JSON.")
    disable_additional_properties: bool = Field(
        False, description="Objects with `properties` have no others unless they say so."
    )
    whitespace_pattern: Text | None = Field(None, description="What may stand between the parts of JSON: a regex.")

    @model_validator(mode="before")
    @classmethod
    def _refuse_tags(cls, body: Any) -> Any:
        if isinstance(body, dict) and body.get("structural_tag") is not None:
            raise ValueError("'structural_tag' is not supported: use 'grammar'")
        return body

    @property
    def constrains(self) -> bool:
        """Whether it asks for anything."""
        return self.json_object or any(
            each is not None for each in (self.json_schema, self.regex, self.choice, self.grammar)
        )

    @model_validator(mode="after")
    def _check_one(self) -> StructuredOutputs:
        kinds = (self.json_schema, self.regex, self.choice, self.grammar, self.json_object or None)
        if sum(kind is not None for kind in kinds) > 1:
            raise ValueError("names more than one of 'json', 'regex', 'choice', 'grammar' and 'json_object'")
        of_json = (self.disable_any_whitespace, self.disable_additional_properties, self.whitespace_pattern is not None)
        if any(of_json) and self.json_schema is None and not self.json_object:
            raise ValueError("has options that only 'json' and 'json_object' know")
        if self.disable_any_whitespace and self.whitespace_pattern is not None:
            raise ValueError("'disable_any_whitespace' excludes 'whitespace_pattern'")
        return self


class ConstrainedFields(Schema):
    """What completions and chats may say of the tokens of their answers, or of the whole."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    allowed_token_ids: Annotated[list[Annotated[int, Field(ge=0)]], Field(fail_fast=True)] | None = Field(
        None, min_length=1, description="No other tokens are chosen; not even those that end an answer."
    )
    bad_words: list[Text] = Field(default=[], max_length=MAX_BAD_WORDS, description="What the answer does not hold.")

    @model_validator(mode="after")
    def _check_one_form(self) -> ConstrainedFields:
        asked = self.structured_outputs is not None and self.structured_outputs.constrains
        if asked and self.response_format is not None and self.response_format.type != "text":
            raise ValueError("structured_outputs: excludes 'response_format'")
        return self
