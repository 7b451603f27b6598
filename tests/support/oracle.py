"""What transformers and PEFT say the answer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Answer:
    """Generated tokens and the log probability of each."""

    tokens: list[int]
    logprobs: list[float]


@torch.inference_mode()
def greedy(model: torch.nn.Module, prompt: Sequence[int], max_tokens: int) -> Answer:
    """Greedy decoding by whole forward passes, without any cache that could be wrong."""
    tokens = list(prompt)
    logprobs = []
    for _ in range(max_tokens):
        row = model(torch.tensor([tokens])).logits[0, -1].float().log_softmax(-1)
        token = int(row.argmax())
        tokens.append(token)
        logprobs.append(float(row[token]))
    return Answer(tokens[len(prompt) :], logprobs)
