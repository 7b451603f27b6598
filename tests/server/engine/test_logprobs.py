"""Scores of tokens, from tables that are worked out a few rows at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from loraplex_server.engine.logprobs import CPU_ROWS, score, token_logprobs

VOCAB = 1000


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that an operation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.nbytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        made = [found] if isinstance(found, torch.Tensor) else found
        if not func.is_view:  # a part of what is there takes nothing
            self.nbytes = max([self.nbytes, *(each.nbytes for each in made if isinstance(each, torch.Tensor))])
        return found


@pytest.mark.parametrize("rows", [1, CPU_ROWS, 2 * CPU_ROWS + 1])
def test_each_row_is_scored_as_if_it_were_alone(rows: int) -> None:
    logits = torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(rows))
    tokens = torch.arange(rows)
    found = score(logits, tokens, 3)
    expected = logits.log_softmax(-1)
    torch.testing.assert_close(found.chosen, expected[tokens, tokens])
    torch.testing.assert_close(found.top_values, expected.topk(3).values)
    assert found.ranks.tolist() == [
        int((row > row[token]).sum()) + 1 for row, token in zip(logits, tokens, strict=True)
    ]
    assert [len(each.top) for each in token_logprobs(logits, tokens.tolist(), 2)] == [2] * rows


def test_what_is_worked_out_on_the_way_does_not_grow_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    logits, tokens = torch.randn(64, VOCAB), torch.zeros(64, dtype=torch.int64)
    with Largest() as largest:
        score(logits, tokens, 5)
    assert 0 < largest.nbytes <= CPU_ROWS * VOCAB * 8
