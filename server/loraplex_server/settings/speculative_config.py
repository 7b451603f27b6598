"""vLLM's `--speculative-config`: the same settings in its words, as far as they are ours too."""

from __future__ import annotations

import json
from typing import Any

METHODS = ("ngram", "[ngram]")
MOST_TOKENS = 32
MOST_MATCH = 32
_TOKENS, _LOOKUP = "num_speculative_tokens", ("prompt_lookup_min", "prompt_lookup_max")
# vLLM's own, where neither length is said.
_LOOKUP_DEFAULT = 5


def read_speculative_config(text: str) -> dict[str, Any]:
    """Fields of EngineConfig.

    Raises:
        ValueError: it is no JSON object, or asks for what is not served; says what.
    """
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ValueError('must be a JSON object, such as {"method": "ngram", "num_speculative_tokens": 5}')
    model = given.pop("model", None)  # vLLM's first spelling of the method
    method = given.pop("method", None) or model
    if method not in METHODS or model not in (None, *METHODS):
        asked = f"{method!r}" if model in (None, method) else f"{method!r} and model {model!r}"
        raise ValueError(f'has method {asked}; "ngram" alone, which needs no draft model, is served')
    numbers = {name: _number(name, given.pop(name, None)) for name in (_TOKENS, *_LOOKUP)}
    if unknown := [name for name, value in given.items() if value is not None]:
        raise ValueError(f"has {', '.join(unknown)}, which are not supported")
    if numbers[_TOKENS] is None:
        raise ValueError(f"lacks {_TOKENS}")
    shortest, longest = (numbers[name] for name in _LOOKUP)
    shortest, longest = (shortest or longest or _LOOKUP_DEFAULT), (longest or shortest or _LOOKUP_DEFAULT)
    if shortest > longest:
        raise ValueError(f"has {_LOOKUP[0]} {shortest} above {_LOOKUP[1]} {longest}")
    return {
        "speculation": "ngram",
        "speculation_tokens": numbers[_TOKENS],
        "speculation_min_match": shortest,
        "speculation_max_match": longest,
    }


def _number(name: str, value: object) -> int | None:
    if value is None:
        return None
    most = MOST_TOKENS if name == _TOKENS else MOST_MATCH
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"has {name} {value!r}; it must be a whole number from 1 to {most}")
    return value
