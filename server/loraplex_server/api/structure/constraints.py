"""All that keeps a request's answer from being any text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.schemas.structured import ConstrainedFields
from loraplex_server.api.structure.grammars import grammar_of


@dataclass(frozen=True)
class Constraints:
    """Fields of `SamplingParams`. Args: grammar: checked. allowed_token_ids: None: all. bad_words: tokens of each."""

    grammar: str | None = None
    allowed_token_ids: tuple[int, ...] | None = None
    bad_words: tuple[tuple[int, ...], ...] = ()


UNCONSTRAINED = Constraints()


async def constraints_of(body: ConstrainedFields, renderer: Renderer) -> Constraints:
    """What a request asks for, read with the tokenizer that reads the request.

    Raises:
        ApiError: 400; its grammar cannot be followed.
    """
    grammar = await grammar_of(body.response_format, body.structured_outputs, renderer)
    allowed = None if body.allowed_token_ids is None else tuple(dict.fromkeys(body.allowed_token_ids))
    return Constraints(grammar, allowed, await _bad_words(body.bad_words, renderer) if body.bad_words else ())


async def _bad_words(words: Sequence[str], renderer: Renderer) -> tuple[tuple[int, ...], ...]:
    """Each as it begins a text and as it follows a space, which are other tokens; as vLLM does it.

    The second is left out where its end is the first: then that is found behind the space too. What is nothing but
    white space is banned as it is.
    """
    bare = [word.lstrip() or word for word in words]
    first = await renderer.encode_all(bare, add_special_tokens=False)
    behind = await renderer.encode_all([f" {word}" for word in bare], add_special_tokens=False)
    found: list[tuple[int, ...]] = []
    for alone, spaced in zip(first, behind, strict=True):
        found.append(tuple(alone))
        if alone and len(spaced) == len(alone) and spaced[0] != alone[0]:
            found.append(tuple(spaced))
    return tuple(dict.fromkeys(each for each in found if each))
