"""Latency: how long clients wait, and for what."""

from __future__ import annotations

from panels.kinds import HALF, About, Panel, heat_of, lines
from panels.objectives import INTER_TOKEN, TTFT, bound
from panels.queries import Target, buckets, mean, percentiles, quantiles


def panels() -> list[Panel]:
    """In their order."""
    return [*_times(), *_parts(), *_heats(), *_asked()]


def _times() -> list[Panel]:
    return [
        lines(
            About("Time to first token", "From a request's arrival; the dashed line is what is promised.", "s"),
            *quantiles(TTFT),
            limit=float(bound(TTFT)),
        ),
        lines(
            About("Inter-token latency", "Between two tokens of an answer; the dashed line is what is promised.", "s"),
            *quantiles(INTER_TOKEN),
            limit=float(bound(INTER_TOKEN)),
        ),
        lines(
            About("End to end", "Arrival to last token; grows with the answer's length.", "s"),
            *quantiles("vllm:e2e_request_latency_seconds"),
        ),
    ]


def _parts() -> list[Panel]:
    prefill, decode = "vllm:request_prefill_time_seconds", "vllm:request_decode_time_seconds"
    return [
        lines(
            About(
                "Queue", "Arrival to first scheduled. Buckets below 0.3 s are one: smaller figures are estimates.", "s"
            ),
            *quantiles("vllm:request_queue_time_seconds"),
        ),
        lines(
            About("Prefill and decode", "First scheduled to first token, and first token to last.", "s"),
            *percentiles(prefill, 0.5, 0.95, named="prefill"),
            *percentiles(decode, 0.5, 0.95, named="decode"),
        ),
        lines(
            About(
                "Where the time goes",
                "Mean of an answer: queue, prefill, decode; the sum is about its whole time.",
                "s",
            ),
            Target(mean("vllm:request_queue_time_seconds"), "queue"),
            Target(mean(prefill), "prefill"),
            Target(mean(decode), "decode"),
            stacked=True,
        ),
        lines(
            About("Time per output token", "Mean of an answer, its first token apart.", "s", HALF),
            *quantiles("vllm:request_time_per_output_token_seconds"),
        ),
        lines(
            About("Inference", "First scheduled to last token: the whole without the queue.", "s", HALF),
            *quantiles("vllm:request_inference_time_seconds"),
        ),
    ]


def _asked() -> list[Panel]:
    n, limit, longest = (
        f"vllm:request_{name}" for name in ("params_n", "params_max_tokens", "max_num_generation_tokens")
    )
    return [
        lines(
            About(
                "Tokens asked for and given",
                "Mean of a prompt's `max_tokens`, and of its longest answer.",
                "none",
                HALF,
            ),
            Target(mean(limit), "max_tokens"),
            Target(mean(longest), "longest answer"),
        ),
        lines(About("Answers asked for", "Of one prompt (`n`).", "none", HALF), Target(mean(n), "mean")),
    ]


def _heats() -> list[Panel]:
    return [
        heat_of(About("TTFT, all answers", "How many answers took how long to their first token.", "s"), buckets(TTFT)),
        heat_of(About("Prompt lengths", "Tokens of prompts.", "none"), buckets("vllm:request_prompt_tokens")),
        heat_of(About("Answer lengths", "Tokens of answers.", "none"), buckets("vllm:request_generation_tokens")),
    ]
