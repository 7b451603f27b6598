"""A validated request as work for the engine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from loraplex_server.api.access.caller import Caller
from loraplex_server.api.access.rate_limits import reserve
from loraplex_server.api.answers.addressee import Addressee
from loraplex_server.api.answers.answer import Answer, Prompt
from loraplex_server.api.answers.generation import Generation, Job
from loraplex_server.api.answers.time_left import time_left
from loraplex_server.api.asked import Asked, Operation
from loraplex_server.api.record import RequestRecord
from loraplex_server.api.schemas.sampling import SamplingFields
from loraplex_server.api.services import Services
from loraplex_server.api.tools.use import ToolUse
from loraplex_server.engine.messages import GenerateRequest, Pooling, SamplingParams
from loraplex_server.logs.spoken import Spoken
from loraplex_server.metrics.timeline import Timeline


def make_generation(
    services: Services,
    record: RequestRecord,
    addressee: Addressee,
    body: SamplingFields,
    id: str,
    work: Sequence[tuple[Prompt, SamplingParams]],
    tools: ToolUse | None = None,
    pooling: Pooling | None = None,
    operation: Operation = "text_completion",
) -> Generation:
    """The answers to all prompts of a request, not begun yet. Answer j of prompt i has index i * n + j.

    Args:
        pooling: each prompt's embedding is wanted, and no tokens.
        operation: what traces call it, where it is none for embeddings.

    Raises:
        LimitReachedError, NeverFitsError: the key has no tokens for it.
    """
    metrics = services.metrics.requests
    target, renderer = addressee.target, addressee.renderer
    record.model, record.adapters = target.name, target.adapter_names
    record.asked = Asked("embeddings" if pooling else operation, id, work[0][1], body.answers, body.stop)
    if services.settings.log_prompts:
        record.spoken = Spoken(services.settings.log_prompts_length)
        decode = partial(renderer.tokenizer.decode, skip_special_tokens=False)
        record.spoken.asked([prompt.token_ids for prompt, _ in work], decode)
    timeout_s = time_left(record, body.timeout, services.settings.request_timeout)
    jobs = []
    for number, (prompt, sampling) in enumerate(work):
        request = GenerateRequest(
            request_id=f"{id}-{number}",
            prompt_token_ids=prompt.token_ids,
            sampling=sampling,
            n=body.answers,
            adapters=target.adapters,
            tokenizer="" if sampling.grammar is None else renderer.mask_file.path,
            share=record.caller.share_for(body.priority),
            timeout_s=timeout_s,
            pooling=pooling,
            salt=_salt(services, record.caller, body),
        )
        answers = [Answer(number * body.answers + j, prompt, body, renderer, tools) for j in range(body.answers)]
        timeline = Timeline(metrics, record.arrival, len(prompt.token_ids), body.answers, sampling.max_tokens)
        jobs.append(Job(request, answers, timeline, renderer.mask_file))
    if record.ticket is not None:
        reserve(record.ticket, [job.request for job in jobs], services.engine_info().max_model_len)
    return Generation(services.engine, jobs, record, metrics, services.outcomes)


def _salt(services: Services, caller: Caller, body: SamplingFields) -> str:
    """Of its cached prefixes: its tenant, and what the request adds. No tenant's name holds a line's end, so that no
    request can write itself into another's."""
    tenant = "" if services.settings.share_prefixes else caller.tenant
    return f"{tenant}\n{body.cache_salt}" if tenant or body.cache_salt else ""
