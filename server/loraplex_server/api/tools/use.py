"""The tools of one request: how the model is to write its calls, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from loraplex_server.api.errors import bad_request
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.schemas.tools import FunctionTool
from loraplex_server.api.tools.formats import ToolFormat, find_format
from loraplex_server.api.tools.parts import ToolParser

OFF = "off"


@dataclass(frozen=True)
class ToolUse:
    """Args: format: of the calls. tools: that may be called. required: one has to be. tokens: marks of the format that
    are tokens, and their ids. hidden: marks that are not shown as text. dropped: special tokens that have no text;
    None: the tokenizer is to skip what it skips. most: calls of an answer.
    """

    format: ToolFormat
    tools: Sequence[FunctionTool]
    required: bool
    tokens: Mapping[str, int]
    hidden: frozenset[str]
    dropped: frozenset[int] | None
    most: int | None

    def parser(self) -> ToolParser:
        """For one more answer."""
        names = frozenset(tool.function.name for tool in self.tools)
        return self.format.parser(names, self.hidden, self.most)


def tool_use_of(body: ChatRequest, renderer: Renderer, parser: str) -> ToolUse | None:
    """None where the model is told of no tools.

    Args:
        parser: the server's setting.

    Raises:
        ApiError: 400; this server, or this model, makes no calls.
    """
    if not body.shown_tools:
        return None
    template = renderer.template_for(tools=True) or ""
    format = _format(template, renderer, parser)
    # Llama 3's templates refuse a conversation in which there were more at once: it could not go on.
    one = body.tool_choice.once or not body.parallel_tool_calls or "single tool-call" in template
    required, structured = body.tool_choice.mode == "required", body.structured_outputs
    if required and structured is not None and structured.constrains:
        raise bad_request("'structured_outputs': 'tool_choice' asks for nothing but calls", "structured_outputs")
    special, added = renderer.vocabulary.special, renderer.vocabulary.added
    marks = {id: text for id, text in special.items() if text in format.marks} if body.skip_special_tokens else {}
    return ToolUse(
        format=format,
        tools=body.shown_tools,
        required=required,
        tokens={text: id for id, text in added.items() if text in format.marks and (id in special or _is_tag(text))},
        hidden=frozenset(marks.values()),
        dropped=frozenset(special.keys() - marks.keys()) if marks else None,
        most=1 if one else None,
    )


def _is_tag(text: str) -> bool:
    """Whether llguidance takes an added token for a special one, whatever the tokenizer says of it."""
    return text.startswith("<") and text.endswith(">")


def _format(template: str, renderer: Renderer, parser: str) -> ToolFormat:
    if parser == OFF:
        raise bad_request("'tools': this server was started with --tool-call-parser off", "tools", "tools_off")
    format = find_format(parser, template, renderer.vocabulary.special.values())
    if format is None:
        raise bad_request(
            "'tools': how this model writes calls is not known from its chat template; the server can be told with "
            "--tool-call-parser hermes, llama3 or mistral",
            "tools",
            "unknown_tool_format",
        )
    return format
