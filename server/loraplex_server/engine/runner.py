"""One step on the model: pack the scheduled tokens, run, choose the next tokens."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
from torch import Tensor

from loraplex_kernels import attention, lora
from loraplex_kernels.attention.cache import KVLayer
from loraplex_kernels.lora import AdapterTable, LoraStep, Run
from loraplex_server.engine.logprobs import chosen_logprobs, token_logprobs
from loraplex_server.engine.messages import TokenLogprob
from loraplex_server.engine.sampler import sample
from loraplex_server.engine.scheduler import Scheduled
from loraplex_server.engine.sequence import Sequence
from loraplex_server.models.decoder import Decoder


@dataclass(frozen=True)
class StepResult:
    """What a step gave one scheduled sequence."""

    token: int | None  # the next token; None where the prompt is not wholly computed, or none was asked for
    logprob: TokenLogprob | None = None
    prompt_logprobs: tuple[TokenLogprob, ...] = ()  # of the prompt tokens after each computed position


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
        hidden = self.model.forward(
            self._token_ids(plan), self._attention(plan), self.cache, self._lora(plan)
        )  # [T, H]
        wanted = _wanted_rows(plan)
        if not wanted.rows:
            return [StepResult(None) for _ in plan]
        logits = self.model.logits(hidden[wanted.rows], self._head_lora(wanted.owners))  # float32 [R, V]
        return self._choose(plan, wanted, logits)

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

    def _lora(self, plan: Seq[Scheduled]) -> LoraStep | None:
        runs = []
        first = 0
        for scheduled in plan:
            runs += [Run(first, scheduled.count, use.slot, use.weight) for use in scheduled.sequence.adapters]
            first += scheduled.count
        return self._lora_step(runs, any(use.magnitude for entry in plan for use in entry.sequence.adapters))

    def _head_lora(self, owners: Seq[Sequence]) -> LoraStep | None:
        runs = [
            Run(row, 1, use.slot, use.weight) for row, owner in enumerate(owners) for use in owner.adapters if use.head
        ]
        return self._lora_step(runs, any(use.magnitude for owner in owners for use in owner.adapters if use.head))

    def _lora_step(self, runs: list[Run], magnitude: bool) -> LoraStep | None:
        batch = lora.build_batch(runs, self.device, magnitude)
        return None if batch is None else LoraStep(batch, self.table)

    def _choose(self, plan: Seq[Scheduled], wanted: _WantedRows, logits: Tensor) -> list[StepResult]:
        samplers = [scheduled.sequence for scheduled in plan if scheduled.samples]
        # Rows of the logits are copied only where some of them are prompt positions: a row is half a megabyte.
        last = logits if len(wanted.last) == len(wanted.rows) else logits[wanted.last]
        tokens = sample(last, samplers) if samplers else []
        chosen = iter(zip(tokens, chosen_logprobs(last, samplers, tokens), strict=True))
        results = []
        for scheduled, rows in zip(plan, wanted.by_sequence, strict=True):
            token, logprob = next(chosen) if scheduled.samples else (None, None)
            prompt = self._prompt_logprobs(scheduled, logits[rows])
            results.append(StepResult(None if scheduled.sequence.sampling.max_tokens == 0 else token, logprob, prompt))
        return results

    def _prompt_logprobs(self, scheduled: Scheduled, logits: Tensor) -> tuple[TokenLogprob, ...]:
        sequence = scheduled.sequence
        if not _needs_prompt_logits(sequence):
            return ()
        first = sequence.num_computed
        following = sequence.tokens[first + 1 : min(first + scheduled.count + 1, sequence.prompt_len)]
        return tuple(token_logprobs(logits[: len(following)], following, sequence.sampling.prompt_logprobs or 0))


@dataclass(frozen=True)
class _WantedRows:
    """Rows of the step whose logits are needed: few, in a vocabulary of 150,000 that is what saves the time."""

    rows: list[int]  # of hidden
    owners: list[Sequence]  # of each of these rows
    by_sequence: list[slice]  # for each entry of the plan, its rows of the logits
    last: list[int]  # the rows of the logits from which tokens are chosen


def _needs_prompt_logits(sequence: Sequence) -> bool:
    return sequence.wants_prompt_logprobs and not sequence.prompt_computed and sequence.preemptions == 0


def _wanted_rows(plan: Seq[Scheduled]) -> _WantedRows:
    wanted = _WantedRows([], [], [], [])
    first = 0
    for scheduled in plan:
        sequence = scheduled.sequence
        if _needs_prompt_logits(sequence):
            mine = list(range(first, first + scheduled.count))
        else:
            mine = [first + scheduled.count - 1] if scheduled.samples else []
        wanted.by_sequence.append(slice(len(wanted.rows), len(wanted.rows) + len(mine)))
        wanted.rows.extend(mine)
        wanted.owners.extend([sequence] * len(mine))
        if scheduled.samples:
            wanted.last.append(len(wanted.rows) - 1)
        first += scheduled.count
    return wanted
