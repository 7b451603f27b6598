"""The prompts of a completions request: text or tokens, several at once, to tokens."""

from __future__ import annotations

from loraplex_server.api.answers.answer import Prompt
from loraplex_server.api.answers.parameters import ModelLimits
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.schemas.completion import CompletionRequest


async def read_prompts(body: CompletionRequest, limits: ModelLimits, renderer: Renderer) -> list[Prompt]:
    """All prompts in their order, with their text where it is shown again.

    Raises:
        ApiError: a prompt of tokens is too long, or holds an id that is none; found before anything is decoded.
    """
    cut = body.truncate_prompt_tokens is not None
    given_ids = [limits.cut(given, body, body.max_tokens) for given in body.prompt if not isinstance(given, str)]
    for ids in given_ids:
        limits.check_fits(len(ids), body.max_tokens)
    for ids in given_ids:
        limits.check_ids(ids, "prompt")
    texts = [given for given in body.prompt if isinstance(given, str)]
    encoded = [
        limits.cut(ids, body, body.max_tokens) for ids in await renderer.encode_all(texts, body.add_special_tokens)
    ]
    spelled, numbered = iter(zip(encoded, texts, strict=True)), iter(given_ids)
    # What is shown again of a text is the text, unless a part of it was cut off.
    known = [next(spelled) if isinstance(given, str) else (next(numbered), None) for given in body.prompt]
    read = [[] if not body.echo or (text is not None and not cut) else ids for ids, text in known]
    decoded = await renderer.decode_all(read, body.skip_special_tokens)
    return [
        Prompt(ids, text if body.echo and text is not None and not cut else shown)
        for (ids, text), shown in zip(known, decoded, strict=True)
    ]
