"""Prompts to answers that have not begun: what all APIs that complete, or embed, do first."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from loraplex_server.api.answers.addressee import Addressee, addressee_of_body
from loraplex_server.api.answers.generation import Generation
from loraplex_server.api.answers.jobs import make_generation
from loraplex_server.api.answers.prompts import read_prompts
from loraplex_server.api.record import record_of
from loraplex_server.api.schemas.completion import CompletionRequest
from loraplex_server.api.services import services_of
from loraplex_server.api.structure.constraints import constraints_of
from loraplex_server.engine.messages import Pooling


@dataclass(frozen=True)
class Complete:
    """Args: to: who answers. generation: the answers' source."""

    to: Addressee
    generation: Generation


async def complete(
    request: Request, body: CompletionRequest, id: str, *, fill: bool = False, pooling: Pooling | None = None
) -> Complete:
    """Find who is asked, read the prompts and check that they fit.

    Args:
        fill: an answer without a limit may fill what is left of the context.
        pooling: the prompts' embeddings are wanted, and no tokens.

    Raises:
        ApiError: as addressee_of does, and where a prompt cannot be read or does not fit.
        AdapterError: the adapter cannot be had.
        ClientGoneError: the client did not wait.
    """
    to = await addressee_of_body(request, body)
    to.limits.check_answers(len(body.prompt) * body.answers)
    prompts = await read_prompts(body, to.limits, to.renderer)
    constraints = await constraints_of(body, to.renderer)
    parameters = to.limits.completions(body, [len(prompt.token_ids) for prompt in prompts], constraints, fill=fill)
    work = list(zip(prompts, parameters, strict=True))
    generation = make_generation(services_of(request), record_of(request), to, body, id, work, pooling=pooling)
    return Complete(to, generation)
