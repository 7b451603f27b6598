"""Engine: its steps, its cache, and what makes them smaller than they could be."""

from __future__ import annotations

from panels.kinds import QUARTER, About, Panel, heat_of, lines
from panels.queries import EACH, SERVER, Target, buckets, mean, percentiles, rate, series, share, share_or_zero, total

STEP_TOKENS, WIDTH, ADAPTERS = "vllm:iteration_tokens_total", "loraplex_batch_sequences", "loraplex_batch_adapters"
DRAFTS = "vllm:spec_decode_num"


def panels() -> list[Panel]:
    """In their order."""
    return [*_cache(), *_steps(), *_disturbances()]


def _cache() -> list[Panel]:
    hits, queries = total(rate("vllm:prefix_cache_hits_total")), total(rate("vllm:prefix_cache_queries_total"))
    return [
        lines(
            About(
                "KV cache",
                "Used part of each server's; what is only kept for prompts to come counts as free.",
                "percentunit",
            ),
            Target(series("vllm:kv_cache_usage_perc"), SERVER),
            most=1,
            limit=0.95,
        ),
        lines(
            About(
                "Prefix cache",
                "Part of the prompts' tokens that were found in the cache.",
                "percentunit",
                empty="no prompts",
            ),
            Target(share(hits, queries), "hit rate"),
            most=1,
        ),
        lines(
            About(
                "Steps",
                "Steps of the engine in a second; of these, those that were replayed from CUDA graphs or tapes, and "
                "the others by why not: prompt is no fault, all else makes decoding slower.",
                "ops",
            ),
            Target(total(rate(f"{STEP_TOKENS}_count"), *EACH), SERVER),
            Target(total(rate("loraplex_steps_replayed_total")), "replayed"),
            Target(total(rate("loraplex_steps_not_replayed_total"), "reason"), "not replayed: {{reason}}"),
        ),
    ]


def _steps() -> list[Panel]:
    return [
        lines(
            About("Tokens per step", "Tokens computed in one step, of prompts and answers.", "none"),
            *_spread(STEP_TOKENS),
        ),
        lines(
            About("Batch width", "Sequences computed in one step.", "none"),
            *_spread(WIDTH),
        ),
        lines(
            About("Distinct adapters per step", "How mixed a step is; 0 is the base alone.", "none"),
            *_spread(ADAPTERS),
        ),
        heat_of(
            About("Batch width, all steps", "How many steps computed how many sequences.", "none"),
            buckets(WIDTH),
        ),
        heat_of(
            About("Distinct adapters, all steps", "How many steps mixed how many adapters.", "none"),
            buckets(ADAPTERS),
        ),
        lines(
            About(
                "Speculation",
                "Part of the drafted tokens that were accepted; 0 where the server does not speculate.",
                "percentunit",
            ),
            Target(
                share_or_zero(
                    total(rate(f"{DRAFTS}_accepted_tokens_total")), total(rate(f"{DRAFTS}_draft_tokens_total"))
                ),
                "accepted",
            ),
            Target(
                f"{total(rate(f'{DRAFTS}_accepted_tokens_per_pos_total'), 'position')} "
                f"/ on () group_left () {total(rate(f'{DRAFTS}_drafts_total'))}",
                "at place {{position}}",
            ),
            most=1,
        ),
    ]


def _disturbances() -> list[Panel]:
    return [
        lines(
            About(
                "Preemptions, pauses, deadlines",
                "Answers put back for want of KV memory; that gave their seat to another tenant or a more urgent one; "
                "requests whose time was over.",
                "ops",
                QUARTER,
            ),
            Target(total(rate("vllm:num_preemptions_total")), "preemptions"),
            Target(total(rate("loraplex_pauses_total")), "pauses"),
            Target(total(rate("loraplex_deadline_exceeded_total")), "deadlines"),
        ),
        lines(
            About("Grammars", "Requests with a grammar, and grammars compiled for them, in a second.", "ops", QUARTER),
            Target(total(rate("loraplex_grammar_requests_total")), "requests"),
            Target(total(rate("loraplex_grammars_compiled_total")), "compiled"),
        ),
        lines(
            About(
                "Waiting, by reason",
                "Capacity: there is no room. Deferred: its adapter or grammar is not there.",
                "none",
                QUARTER,
            ),
            Target(total(series("vllm:num_requests_waiting_by_reason"), "reason"), "{{reason}}"),
            stacked=True,
        ),
        lines(
            About(
                "Waits for grammars",
                "Part of the time that steps stood still for masks of grammars.",
                "percentunit",
                QUARTER,
            ),
            Target(f"avg({rate('loraplex_grammar_mask_wait_seconds_total')})", "waiting"),
        ),
    ]


def _spread(histogram: str) -> list[Target]:
    return [Target(mean(histogram), "mean"), *percentiles(histogram, 0.5, 0.95)]
