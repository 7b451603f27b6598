"""The prompts of a completions request: text or tokens, several at once, to tokens."""

from __future__ import annotations

from loraplex_server.api.answer import Prompt
from loraplex_server.api.parameters import ModelLimits
from loraplex_server.api.renderer import Renderer
from loraplex_server.api.schemas.completion import CompletionRequest


async def read_prompts(body: CompletionRequest, limits: ModelLimits, renderer: Renderer) -> list[Prompt]:
    """All prompts in their order, with their text where it is shown again.

    Raises:
        ApiError: a prompt of tokens is too long, or holds an id that is none; found before anything is decoded.
    """
    given_ids = [given for given in body.prompt if not isinstance(given, str)]
    for ids in given_ids:
        limits.check_fits(len(ids), body.max_tokens)
    for ids in given_ids:
        limits.check_ids(ids, "prompt")
    texts = [given for given in body.prompt if isinstance(given, str)]
    encoded = iter(await renderer.encode_all(texts, body.add_special_tokens))
    shown: list[list[int]] = given_ids if body.echo else [[]] * len(given_ids)
    decoded = iter(await renderer.decode_all(shown, body.skip_special_tokens))
    prompts = []
    for given in body.prompt:
        if isinstance(given, str):
            prompts.append(Prompt(next(encoded), given if body.echo else ""))
        else:
            prompts.append(Prompt(given, next(decoded)))
    return prompts
