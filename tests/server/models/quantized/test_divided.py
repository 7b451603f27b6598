"""Checkpoints that come quantized, divided between two ranks: exactly the same weights, or a refusal by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.checkpoints import prompt
from support.quantized_cases import CASES
from support.ranks import on_ranks

from loraplex_server.models.errors import UnsupportedModelError
from loraplex_server.models.load import load_model

PROMPT = prompt(14, 1)
CPU = torch.device("cpu")


SORTED = ("gptq-int4-act-order", "gptq-int8-act-order")


def logits(folder: Path, paged: Any, **options: Any) -> torch.Tensor:
    decoder = load_model(str(folder), device=CPU, dtype=torch.float32, **options)
    return paged(decoder, [PROMPT]).step([len(PROMPT)])[0]


@pytest.mark.parametrize("name", [name for name in CASES if name not in SORTED])
def test_two_ranks_compute_what_one_does(name, write, paged) -> None:
    folder = write(name).folder
    divided = on_ranks(2, lambda group: logits(folder, paged, group=group))
    assert torch.equal(divided[0], divided[1])
    torch.testing.assert_close(divided[0], logits(folder, paged), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SORTED)
def test_inputs_that_were_sorted_cannot_be_divided(name, write, paged) -> None:
    with pytest.raises(UnsupportedModelError, match=r"o_proj cannot be divided: inputs that were sorted \(desc_act\)"):
        on_ranks(2, lambda group: logits(write(name).folder, paged, group=group))
