"""The token ids that a step starts from, some of which only the device knows yet."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np
import torch
from torch import Tensor

from loraplex_kernels.upload import upload
from loraplex_server.engine.flight import Chosen
from loraplex_server.engine.scheduler import Scheduled
from loraplex_server.engine.sequence import PLACEHOLDER


def token_ids(plan: Seq[Scheduled], before: Chosen | None, device: torch.device) -> Tensor:
    """int64 `[T]`: the plan's tokens, end to end.

    Args:
        plan: of the step.
        before: what the step before chose; the tokens in flight are among them.
        device: where the ids go.

    Raises:
        RuntimeError: the step before did not choose a token that is in flight.
    """
    ids: list[int] = []
    rows: list[int] = []  # of the tokens in flight
    places: list[int] = []  # of the same in `before`
    for scheduled in plan:
        sequence = scheduled.sequence
        if scheduled.draft:
            ids += sequence.tokens[scheduled.start :]
            ids += scheduled.draft
            continue
        ids += sequence.tokens[scheduled.start : scheduled.end]
        if scheduled.end > len(sequence.tokens):
            rows.append(len(ids))
            places.append(_place(scheduled, before))
            ids.append(PLACEHOLDER)
    if before is None or not rows:
        return upload([np.array(ids, dtype=np.int64)], device)[0]
    filled, to, at = upload([np.array(each, dtype=np.int64) for each in (ids, rows, places)], device)
    return filled.index_copy_(0, to, before.tokens.index_select(0, at))


def _place(scheduled: Scheduled, before: Chosen | None) -> int:
    sequence = scheduled.sequence
    if before is None or sequence not in before.rows or scheduled.end != len(sequence.tokens) + 1:
        raise RuntimeError(f"a token of {sequence.request_id} is computed that no step before has chosen")
    return before.rows[sequence].start
