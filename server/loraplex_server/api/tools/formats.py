"""The formats of calls that are understood, and which of them a model writes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from loraplex_server.api.tools import hermes, llama3, mistral
from loraplex_server.api.tools.parser import Parser
from loraplex_server.api.tools.syntax import CallSyntax


@dataclass(frozen=True)
class ToolFormat:
    """Args: parser: of answers. syntax: of calls. marks: what vocabularies may have as special tokens."""

    name: str
    parser: type[Parser]
    syntax: CallSyntax
    marks: tuple[str, ...]


HERMES = ToolFormat("hermes", hermes.HermesParser, hermes.SYNTAX, (hermes.BEGIN, hermes.END))
LLAMA3 = ToolFormat("llama3", llama3.Llama3Parser, llama3.SYNTAX, (llama3.PYTHON_TAG,))
_MISTRAL_MARKS = (mistral.BEGIN, mistral.CALL_ID, mistral.ARGS)
MISTRAL = ToolFormat("mistral", mistral.MistralParser, mistral.ARRAY_SYNTAX, _MISTRAL_MARKS)
MISTRAL_ARGS = ToolFormat("mistral", mistral.MistralParser, mistral.ARGS_SYNTAX, _MISTRAL_MARKS)


# What others write between the marks of Hermes, or instead: Qwen3-Coder, GLM, MiniMax and Apriel.
_OTHERS = ("<function=", "<arg_key>", "<invoke", "<tool_calls>")


def find_format(name: str, template: str, vocabulary: Collection[str]) -> ToolFormat | None:
    """The format of a name; of `auto`, that in which the model's own template shows calls. None: there is none.

    Args:
        name: auto, hermes, llama3, mistral or off.
        template: of the model's chats.
        vocabulary: its added tokens.
    """
    if name == "auto":
        name = _guess(template, vocabulary)
    if name == "mistral":
        return MISTRAL_ARGS if mistral.ARGS in template else MISTRAL
    return {"hermes": HERMES, "llama3": LLAMA3}.get(name)


def _guess(template: str, vocabulary: Collection[str]) -> str:
    plain = template.replace("\\", "")  # of the escapes of Jinja's strings
    if mistral.BEGIN in plain:
        return "mistral"
    if hermes.BEGIN in plain and '"arguments"' in plain and not any(mark in plain for mark in _OTHERS):
        return "hermes"
    if llama3.PYTHON_TAG in vocabulary and '"parameters"' in plain:
        return "llama3"
    return "off"
