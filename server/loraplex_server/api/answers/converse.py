"""A conversation to an answer that has not begun: what all APIs that chat do first."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec
from fastapi import Request

from loraplex_server.api.answers.addressee import Addressee, addressee_of_body
from loraplex_server.api.answers.answer import Prompt
from loraplex_server.api.answers.generation import Generation
from loraplex_server.api.answers.jobs import make_generation
from loraplex_server.api.record import record_of
from loraplex_server.api.schemas.chat import ChatRequest
from loraplex_server.api.services import services_of
from loraplex_server.api.structure.constraints import constraints_of
from loraplex_server.api.tools.demand import demanded
from loraplex_server.api.tools.use import tool_use_of


@dataclass(frozen=True)
class Converse:
    """Args: to: who answers. generation: the answer's source. max_tokens: of it."""

    to: Addressee
    generation: Generation
    max_tokens: int


async def converse(request: Request, body: ChatRequest, id: str, at_most: int | None = None) -> Converse:
    """Find who is asked, render the conversation and check that it fits.

    Args:
        at_most: tokens of the answer; unlike the body's own limit, it may be more than the context holds.

    Raises:
        ApiError: as addressee_of does, and where the conversation cannot be rendered or does not fit.
        AdapterError: the adapter cannot be had.
        ClientGoneError: the client did not wait.
    """
    to = await addressee_of_body(request, body)
    to.limits.check_answers(body.answers)
    services = services_of(request)
    tools = tool_use_of(body, to.renderer, services.settings.tool_call_parser)
    prompt = Prompt(to.limits.cut(await to.renderer.encode_chat(body), body, body.token_limit))
    constraints = await constraints_of(body, to.renderer)
    if tools is not None:
        constraints = replace(constraints, grammar=await demanded(tools, constraints.grammar, to.renderer))
    sampling = to.limits.chat(body, len(prompt.token_ids), constraints)
    if at_most is not None:
        sampling = msgspec.structs.replace(sampling, max_tokens=min(sampling.max_tokens, at_most))
    work = [(prompt, sampling)]
    generation = make_generation(services, record_of(request), to, body, id, work, tools, operation="chat")
    return Converse(to, generation, sampling.max_tokens)
