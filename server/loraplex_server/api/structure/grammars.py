"""What a request says of its answer's form, as a grammar that was looked at: a bad one is a 400 here already."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from loraplex_server.api.errors import bad_request
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.schemas.structured import ResponseFormat, StructuredOutputs
from loraplex_server.api.structure.json_schemas import DEFAULT_STYLE, JsonStyle, SchemaError, schema_text
from loraplex_server.api.structure.lark import from_any, prepared
from loraplex_server.engine.grammars.deep_threads import DeepThreads
from loraplex_server.engine.grammars.errors import explain
from loraplex_server.engine.grammars.limits import MAX_BYTES, parser_limits

ANY_OBJECT = {"type": "object"}
# Grammars that were looked at already, each of up to MAX_BYTES.
MOST_KNOWN = 256

_threads = DeepThreads(2, "grammar-checks")
_CLEARER = {
    "oneOf constraints are not supported.": "'oneOf': its options are not seen to exclude each other; use 'anyOf'",
    "min/maxProperties only supported": "'minProperties' and 'maxProperties' are only supported where all 'properties' "
    "are required",
}


def json_grammar(schema: Any, style: JsonStyle = DEFAULT_STYLE) -> str:
    """Of JSON that is valid for a schema.

    Raises:
        SchemaError: it cannot be served exactly.
    """
    return _grammar("json_schema", json.loads(schema_text(schema, style)))


def regex_grammar(regex: str) -> str:
    """Of texts that a regular expression matches as a whole."""
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_regex(regex)


def choice_grammar(choices: Sequence[str]) -> str:
    """Of some texts."""
    # A string of Lark is one of JSON, but for one character that it does not take as it is.
    options = (json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f") for text in dict.fromkeys(choices))
    return _grammar("lark_grammar", "start: " + " | ".join(options))


def lark_grammar(lark: str) -> str:
    """Of texts of a grammar in Lark's syntax, with the schemas behind its %json taken exactly.

    Raises:
        SchemaError: one of these cannot be served, or an option of a rule.
    """
    return _grammar("lark_grammar", prepared(lark))


async def grammar_of(
    form: ResponseFormat | None, structured: StructuredOutputs | None, renderer: Renderer
) -> str | None:
    """The grammar that a request asks for, checked; None where it asks for none.

    Raises:
        ApiError: 400; it cannot be served, with the reason.
    """
    if form is not None and form.type != "text":
        schema = ANY_OBJECT if form.json_schema is None else form.json_schema.json_schema
        return await checked(lambda: json_grammar(schema), renderer, "response_format")
    if structured is not None and structured.constrains:
        return await checked(lambda: _structured_grammar(structured), renderer, "structured_outputs")
    return None


async def checked(make: Callable[[], str], renderer: Renderer, param: str) -> str:
    """A grammar that can be followed, made on a thread; whoever gives a request a grammar gets it from here.

    Args:
        make: it; may raise SchemaError.
        renderer: that reads and writes the request; its tokenizer is made ready for the engine.
        param: the field that it came from.

    Raises:
        ApiError: 400; it cannot be served, with the reason. 503: the tokenizer cannot be written.
    """
    try:
        grammar = await asyncio.get_running_loop().run_in_executor(_threads, _made, make)
    except SchemaError as error:
        raise bad_request(f"'{param}': {str(error)[:500]}", param=param, code="invalid_grammar") from error
    await renderer.mask_file.write()
    return grammar


def _made(make: Callable[[], str]) -> str:
    try:
        grammar = make()
        size = len(grammar.encode())
    except RecursionError:
        raise SchemaError("it is nested too deep") from None
    except SchemaError:
        raise
    except UnicodeEncodeError:
        raise SchemaError("it has half of a surrogate pair, which is no character") from None
    except ValueError as error:  # such as a number that JSON does not have
        raise SchemaError(str(error)) from error
    if size > MAX_BYTES:
        raise SchemaError(f"it is larger than {MAX_BYTES} bytes")
    if fault := _fault(grammar):
        raise SchemaError(fault)
    return grammar


@lru_cache(MOST_KNOWN)
def _fault(grammar: str) -> str:
    """Why a grammar cannot be followed, whatever the tokenizer; "" where nothing is wrong with it."""
    from llguidance import LLMatcher

    failed, said = LLMatcher.validate_grammar_with_warnings(grammar, None, limits=parser_limits())
    # Of special tokens the engine knows, which has the tokenizer. Any other warning says that something is left out.
    faults = [each for each in said if failed or not each.startswith("no tokenizer")]
    return _clearer(explain(faults[0])) if faults else ""


def _clearer(fault: str) -> str:
    if fault.startswith("Unimplemented keys: "):
        return f"keywords that are not supported: {fault.partition(': ')[2]}"
    return next((clearer for beginning, clearer in _CLEARER.items() if fault.startswith(beginning)), fault)


def _structured_grammar(asked: StructuredOutputs) -> str:
    if asked.regex is not None:
        return regex_grammar(asked.regex)
    if asked.choice is not None:
        return choice_grammar(asked.choice)
    if asked.grammar is not None:
        return _grammar("lark_grammar", from_any(asked.grammar))
    whitespace = "" if asked.disable_any_whitespace else asked.whitespace_pattern or DEFAULT_STYLE.whitespace
    schema: Any = ANY_OBJECT if asked.json_schema is None else asked.json_schema
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except (ValueError, RecursionError) as error:
            raise SchemaError(f"'json' is no JSON: {str(error)[:100]}") from None
    return json_grammar(schema, JsonStyle(whitespace, asked.disable_additional_properties))


def _grammar(kind: str, content: Any) -> str:
    """As llguidance serializes them."""
    return json.dumps({"grammars": [{kind: content}]}, ensure_ascii=False)
