"""What a request demands of its calls, as a grammar that was looked at.

Required and named calls, and those of functions that are `strict`, follow the schemas of their functions; with
`strict`, also those that the model makes of itself: it is held from the first mark of a call on. Elsewhere the
model writes what it likes, and the parser reads it.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from loraplex_server.api.errors import ApiError
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.schemas.tools import Function
from loraplex_server.api.structure.grammars import checked, json_grammar
from loraplex_server.api.structure.json_schemas import schema_text
from loraplex_server.api.tools.grammar import CallGrammar
from loraplex_server.api.tools.use import ToolUse

_ANY_ARGUMENTS: dict[str, Any] = {"type": "object"}
_ANSWER = "answer"


async def demanded(tools: ToolUse, answer: str | None, renderer: Renderer) -> str | None:
    """The grammar of answers that call these tools; None: any answer will do.

    Args:
        answer: the grammar that the request has for its answer, where that is no call.

    Raises:
        ApiError: 400; a schema cannot be followed.
    """
    if not tools.required and answer is None and not any(tool.function.strict for tool in tools.tools):
        return None
    for tool in tools.tools:
        if tools.required or tool.function.strict:
            await _check(tool.function, renderer)
    return await checked(lambda: _grammar(tools, answer), renderer, "tools")


async def _check(function: Function, renderer: Renderer) -> None:
    """Each schema alone, so that a fault is told of the function that has it."""
    try:
        await checked(lambda: json_grammar(_schema(function)), renderer, "tools")
    except ApiError as error:
        if error.status != 400:
            raise
        reason = error.message.removeprefix("'tools': ")
        message = f"'tools': the parameters of '{function.name}': {reason}"
        raise ApiError(400, message, param="tools", code=error.code) from error


def _grammar(tools: ToolUse, answer: str | None) -> str:
    functions = []
    for tool in tools.tools:
        held = tools.required or tool.function.strict
        functions.append((tool.function.name, schema_text(_schema(tool.function) if held else dict(_ANY_ARGUMENTS))))
    calls = CallGrammar(tools.format.syntax, functions, tools.tokens, many=tools.most is None)
    if tools.required:
        return json.dumps({"grammars": [{"lark_grammar": calls.calls()}]}, ensure_ascii=False)
    if answer is None:
        return json.dumps({"grammars": [{"lark_grammar": calls.any()}]}, ensure_ascii=False)
    first, *rest = json.loads(answer)["grammars"]
    either = [{"name": "calls", "lark_grammar": calls.calls_or(_ANSWER)}, {**first, "name": _ANSWER}]
    return json.dumps({"grammars": [*either, *rest]}, ensure_ascii=False)


def _schema(function: Function) -> dict[str, Any]:
    """One that may be changed."""
    return {**_ANY_ARGUMENTS, **copy.deepcopy(function.parameters)}
