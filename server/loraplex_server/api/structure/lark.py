"""Grammars in Lark's syntax, as llguidance reads it."""

from __future__ import annotations

import json
import re

from loraplex_server.api.structure.json_schemas import SchemaError, schema_text
from loraplex_server.engine.grammars.limits import MAX_BYTES

# Comments, strings and regular expressions, in which nothing means anything; schemas; and options of rules. What is not
# closed ends with its line: else each quote in it would be tried anew, for minutes, with the interpreter's lock held.
_PARTS = re.compile(
    r"(?P<skip>//[^\n]*|#[^\n]*|\"(?:[^\"\\\n]|\\.)*\"?|/(?:[^/\\\n]|\\.)+/?)|(?P<json>%json\b\s*)"
    r"|\b(?P<option>temperature|stop)\s*="
)


def prepared(lark: str) -> str:
    """The grammar with its schemas as `schema_text` has them.

    Raises:
        SchemaError: a schema cannot be served, or an option of a rule.
    """
    done: list[str] = []
    place = 0
    while found := _PARTS.search(lark, place):
        done.append(lark[place : found.end()])
        place = found.end()
        if found["option"]:
            raise SchemaError(f"the option '{found['option']}' of a rule is not supported")
        if found["json"]:
            try:
                schema, place = json.JSONDecoder().raw_decode(lark, place)
            except (ValueError, RecursionError) as error:
                raise SchemaError(f"behind %json is no JSON: {str(error)[:100]}") from None
            done.append(schema_text(schema))
    return "".join(done) + lark[place:]


def from_any(text: str) -> str:
    """Lark from Lark or from llama.cpp's GBNF, as vLLM tells them apart.

    Raises:
        SchemaError: it is neither, or has what is not supported, or is too large to be looked at.
    """
    if len(text) > MAX_BYTES:
        raise SchemaError(f"it is larger than {MAX_BYTES} bytes")
    from llguidance.gbnf_to_lark import any_to_lark

    try:
        lark = any_to_lark(text)
    except Exception as error:  # it raises no type of its own
        raise SchemaError(f"it is no Lark (which has a rule 'start'), and as GBNF: {str(error)[:200]}") from error
    return prepared(lark)
