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
    if mistral.BEGIN in template:
        return "mistral"
    # Others write XML into the same marks: Qwen3-Coder and GLM.
    if hermes.BEGIN in template and "<function=" not in template and "<arg_key>" not in template:
        return "hermes"
    if llama3.PYTHON_TAG in vocabulary and '"parameters"' in template.replace("\\", ""):
        return "llama3"
    return "off"
