"""What changes the logits before a token is chosen: penalties, biases, tokens that may not come yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence as Seq

import torch
from torch import Tensor

from loraplex_server.engine.sequence import Sequence


def adjust(logits: Tensor, sequences: Seq[Sequence]) -> Tensor:
    """The logits from which to choose, `[R, V]`; the argument itself where no sequence asks for anything.

    Repetition penalty: Keskar et al., CTRL (2019), over prompt and output, as in transformers and vLLM. Presence and
    frequency penalties: OpenAI's definition, over the output.
    """
    adjusted = logits
    for row, sequence in enumerate(sequences):
        sampling = sequence.sampling
        too_early = sequence.num_output < sampling.min_tokens and sampling.stop_token_ids
        if not (_penalized(sequence) or sampling.logit_bias or too_early):
            continue
        if adjusted is logits:
            adjusted = logits.clone()  # the raw ones are still needed for logprobs
        if _penalized(sequence):
            _penalize(adjusted[row], sequence)
        if sampling.logit_bias:
            ids = torch.tensor(list(sampling.logit_bias), device=logits.device)
            adjusted[row, ids] += torch.tensor(list(sampling.logit_bias.values()), device=logits.device)
        if too_early:
            adjusted[row, _columns(sampling.stop_token_ids, logits)] = -torch.inf
    return adjusted


def _penalized(sequence: Sequence) -> bool:
    sampling = sequence.sampling
    return bool(sampling.repetition_penalty != 1.0 or sampling.presence_penalty or sampling.frequency_penalty)


def _penalize(row: Tensor, sequence: Sequence) -> None:
    sampling = sequence.sampling
    if sampling.repetition_penalty != 1.0:
        seen = _columns(sorted(set(sequence.real_tokens)), row)
        values = row[seen]
        row[seen] = torch.where(values > 0, values / sampling.repetition_penalty, values * sampling.repetition_penalty)
    counts = Counter(sequence.output)
    if counts and (sampling.presence_penalty or sampling.frequency_penalty):
        ids = torch.tensor(list(counts), device=row.device)
        times = torch.tensor(list(counts.values()), dtype=row.dtype, device=row.device)
        row[ids] -= sampling.presence_penalty + sampling.frequency_penalty * times


def _columns(tokens: Iterable[int], logits: Tensor) -> Tensor:
    """int64: those of the tokens that have a logit. An adapter may know tokens that it never chooses."""
    known = [token for token in tokens if token < logits.shape[-1]]
    return torch.tensor(known, dtype=torch.int64, device=logits.device)
