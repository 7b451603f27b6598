"""One step on the model: pack the scheduled tokens, run, choose the next tokens."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from loraplex_kernels import attention
from loraplex_kernels.attention.cache import KVLayer
from loraplex_kernels.lora import AdapterTable
from loraplex_server.engine.adapter_rows import Stretch, adapter_step
from loraplex_server.engine.choice import choose
from loraplex_server.engine.logprobs import token_logprobs
from loraplex_server.engine.messages import TokenLogprob
from loraplex_server.engine.scheduler import Scheduled
from loraplex_server.models.decoder import Decoder

# Prompt positions scored at once. Each is a row of logits, half a megabyte in a vocabulary of 150,000.
SCORED_ROWS = 64


@dataclass(frozen=True)
class StepResult:
    """What a step gave one scheduled sequence."""

    token: int | None = None  # the next token; None where the prompt is not wholly computed, or none was asked for
    logprob: TokenLogprob | None = None
    prompt_logprobs: tuple[TokenLogprob, ...] = ()  # of the prompt tokens from `num_scored` on, as far as computed
    finite: bool = True  # False: the model gave NaN or infinity, and the sequence cannot go on


class ModelRunner:
    """Holds the model, its KV cache and the adapter table, and knows nothing of requests or queues."""

    def __init__(self, model: Decoder, cache: list[KVLayer], block_size: int, table: AdapterTable) -> None:
        self.model = model
        self.cache = cache
        self.block_size = block_size
        self.table = table
        self.device = cache[0].k.device

    @torch.inference_mode()
    def run(self, plan: Seq[Scheduled]) -> list[StepResult]:
        """Compute the plan's tokens and choose the next one of each sequence that reached its end.

        Returns:
            One result for each entry of the plan, in its order.
        """
        stretches = [Stretch(entry.sequence, entry.sequence.num_computed, entry.count) for entry in plan]
        tokens, batch, step = self._token_ids(plan), self._attention(plan), adapter_step(stretches, self.table)
        hidden = self.model.forward(tokens, batch, self.cache, step)  # [T, H]
        firsts = list(accumulate((scheduled.count for scheduled in plan), initial=0))  # row of each sequence's first
        chosen = iter(self._choose(plan, hidden, firsts))
        results = []
        for scheduled, first in zip(plan, firsts, strict=False):
            result = next(chosen) if scheduled.samples else StepResult()
            prompt = self._score_prompt(scheduled, hidden[first : first + scheduled.count])
            results.append(replace(result, prompt_logprobs=prompt))
        return results

    def _token_ids(self, plan: Seq[Scheduled]) -> Tensor:
        tokens: list[int] = []
        for scheduled in plan:
            start = scheduled.sequence.num_computed
            tokens += scheduled.sequence.tokens[start : start + scheduled.count]
        return torch.tensor(tokens, dtype=torch.int64, device=self.device)  # [T]

    def _attention(self, plan: Seq[Scheduled]) -> attention.AttentionBatch:
        spans = [
            attention.Span(entry.count, entry.sequence.num_computed + entry.count, entry.sequence.block_table)
            for entry in plan
        ]
        return attention.build_batch(spans, self.block_size, self.device)

    def _choose(self, plan: Seq[Scheduled], hidden: Tensor, firsts: Seq[int]) -> list[StepResult]:
        """Results of the sequences that reach their last token, in order."""
        ends = [(entry, first + entry.count - 1) for entry, first in zip(plan, firsts, strict=False) if entry.samples]
        if not ends:
            return []
        sequences = [entry.sequence for entry, _ in ends]
        last = [Stretch(sequence, len(sequence.tokens) - 1, 1) for sequence in sequences]
        logits = self.model.logits(hidden[[row for _, row in ends]], adapter_step(last, self.table, head=True))
        return [
            StepResult(
                token=None if sequence.sampling.max_tokens == 0 else choice.token,
                logprob=choice.logprob,
                finite=choice.token is not None,
            )
            for sequence, choice in zip(sequences, choose(logits, sequences), strict=True)
        ]

    def _score_prompt(self, scheduled: Scheduled, hidden: Tensor) -> tuple[TokenLogprob, ...]:
        """Logprobs of the prompt tokens that follow the computed positions, those already delivered left out."""
        sequence = scheduled.sequence
        if not sequence.wants_prompt_logprobs:
            return ()
        computed = sequence.num_computed
        end = min(computed + scheduled.count, sequence.prompt_len - 1)
        scored: list[TokenLogprob] = []
        for first in range(max(computed, sequence.virtual + sequence.num_scored), end, SCORED_ROWS):
            last = min(first + SCORED_ROWS, end)
            step = adapter_step([Stretch(sequence, first, last - first)], self.table, head=True)
            logits = self.model.logits(hidden[first - computed : last - computed], step)[:, : sequence.vocab]
            following = sequence.tokens[first + 1 : last + 1]
            scored += token_logprobs(logits, following, sequence.sampling.prompt_logprobs or 0)
        return tuple(scored)
