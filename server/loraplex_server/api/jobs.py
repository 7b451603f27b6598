"""A validated request as work for the engine."""

from __future__ import annotations

from collections.abc import Sequence

from loraplex_server.api.addressee import Addressee
from loraplex_server.api.answer import Answer, Prompt
from loraplex_server.api.generation import Generation, Job
from loraplex_server.api.record import RequestRecord
from loraplex_server.api.schemas.sampling import SamplingFields
from loraplex_server.api.services import Services
from loraplex_server.api.tools.use import ToolUse
from loraplex_server.engine.messages import GenerateRequest, SamplingParams
from loraplex_server.metrics.timeline import Timeline


def make_generation(
    services: Services,
    record: RequestRecord,
    addressee: Addressee,
    body: SamplingFields,
    id: str,
    work: Sequence[tuple[Prompt, SamplingParams]],
    tools: ToolUse | None = None,
) -> Generation:
    """The answers to all prompts of a request, not begun yet. Answer j of prompt i has index i * n + j."""
    metrics = services.metrics.requests
    target, renderer = addressee.target, addressee.renderer
    record.model, record.adapters = target.name, target.adapter_names
    jobs = []
    for number, (prompt, sampling) in enumerate(work):
        request = GenerateRequest(
            request_id=f"{id}-{number}",
            prompt_token_ids=prompt.token_ids,
            sampling=sampling,
            n=body.answers,
            adapters=target.adapters,
            share=record.caller.share,
        )
        answers = [Answer(number * body.answers + j, prompt, body, renderer, tools) for j in range(body.answers)]
        timeline = Timeline(metrics, record.arrival, len(prompt.token_ids), body.answers, sampling.max_tokens)
        jobs.append(Job(request, answers, timeline))
    return Generation(services.engine, jobs, record, metrics, services.outcomes)
