"""What PEFT says of the same files on a fresh base."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from conformance.case import Case

CLOSE = 1e-4  # the largest difference of a log probability in float32


@dataclass(frozen=True)
class Expected:
    """Log probabilities after each token but the last: `[tokens - 1, vocab]`, float32."""

    rows: Tensor
    tokens: list[int]

    @property
    def chosen(self) -> Tensor:
        """`[tokens - 1]`: of each token but the first."""
        return self.rows.gather(1, torch.tensor(self.tokens[1:])[:, None])[:, 0]


def prepared(case: Case, base: PreTrainedModel) -> PreTrainedModel:
    """A copy of the base as PEFT gets to see it."""
    model = copy.deepcopy(base)
    if case.prepare is not None:
        case.prepare(model)
    return model


def load(case: Case, base: PreTrainedModel, folder: Path) -> PeftModel:
    """PEFT's own reading of the files, on a base that was never trained."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(prepared(case, base), folder).eval()


@torch.inference_mode()
def score(model: torch.nn.Module, tokens: Sequence[int], task: int | None = None) -> Expected:
    """All log probabilities by one forward pass, without any cache that could be wrong."""
    extra = {} if task is None else {"task_ids": torch.tensor([task])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's remarks on position ids of virtual tokens
        logits: Tensor = model(torch.tensor([list(tokens)]), **extra).logits[0]
    # Virtual tokens have rows of their own, before those of the prompt.
    rows = logits[-len(tokens) : -1].float().log_softmax(-1)
    return Expected(rows, list(tokens))


@torch.inference_mode()
def score_generated(model: PeftModel, prompt: Sequence[int], answer: Sequence[int]) -> Expected:
    """The prompt by one forward pass, the answer by PEFT's own `generate`, which must choose the same tokens."""
    before = score(model, prompt)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = model.generate(
            input_ids=torch.tensor([list(prompt)]),
            max_new_tokens=len(answer),
            do_sample=False,
            eos_token_id=None,
            output_logits=True,
            return_dict_in_generate=True,
        )
    rows = torch.cat(out.logits).float().log_softmax(-1)
    return Expected(torch.cat([before.rows, rows]), [*prompt, *out.sequences[0, len(prompt) :].tolist()])
