"""Which tokens each row of a step may choose, where it may not choose all: grammars and lists of allowed tokens."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from loraplex_server.engine.penalties import banned_tokens
from loraplex_server.engine.sequence import Sequence

DEAD_END = (
    "no token may come next: the grammar, allowed_token_ids, bad_words and min_tokens together leave none of this "
    "model's"
)


@dataclass(frozen=True)
class TokenMasks:
    """Of M rows of a step; all others choose from all their tokens."""

    rows: npt.NDArray[np.int64]  # [M], ascending
    bits: npt.NDArray[np.uint8]  # [M, ceil(logits / 8)]: of each token, the lowest bit first; 0 is forbidden

    def arrays(self) -> list[npt.NDArray[np.generic]]:
        """As `forbid` takes them, on the host."""
        return [self.rows, self.bits]


def allowed_bits(tokens: Seq[int], logits: int) -> npt.NDArray[np.uint8]:
    """A mask of just these tokens, uint8 `[ceil(logits / 8)]`."""
    flags = np.zeros(logits, dtype=np.bool_)
    flags[np.asarray(tokens, dtype=np.int64)] = True
    return np.packbits(flags, bitorder="little")


def token_masks(
    sequences: Seq[Sequence],
    rows: Seq[int],
    lists: Seq[npt.NDArray[np.uint8] | None],
    logits: int,
    pending: Seq[int],
) -> TokenMasks:
    """The masks of a step; waits for those that are still being computed.

    A sequence that is left no token gets its `dead_end`.

    Args:
        sequences: of all rows of the step.
        rows: that have a grammar or a list.
        lists: of each of these rows, its `allowed_bits`, None where there is no list.
        logits: of a row.
        pending: of all rows, tokens that were chosen and are not in the sequence yet.
    """
    bits = np.zeros((len(rows), -(-logits // 8)), dtype=np.uint8)
    for mask, row, listed in zip(bits, rows, lists, strict=True):
        sequence = sequences[row]
        if sequence.matcher is not None:
            known = sequence.matcher.bits[: len(mask)]
            mask[: len(known)] = known
            if listed is not None:
                mask &= listed
        elif listed is not None:
            mask[:] = listed
        if not _has_any(mask, banned_tokens(sequence, pending[row])):
            sequence.dead_end = _reason(sequence)
    return TokenMasks(np.array(rows, dtype=np.int64), bits)


def _reason(sequence: Sequence) -> str:
    error = None if sequence.matcher is None else sequence.matcher.error
    return DEAD_END if error is None else f"the answer cannot follow its grammar any further: {error}"


def _has_any(mask: npt.NDArray[np.uint8], banned: set[int]) -> bool:
    if not banned:
        return bool(mask.any())
    left = mask.copy()
    for token in banned:
        if token >> 3 < len(left):
            left[token >> 3] &= 0xFF ^ (1 << (token & 7))
    return bool(left.any())


def forbid(logits: Tensor, rows: Tensor, bits: Tensor) -> None:
    """Make the forbidden tokens' logits -inf, in place. Other rows are not touched. Nothing here waits for a GPU.

    Args:
        logits: float32 `[R, V]`.
        rows: int64 `[M]`, as `bits` on the logits' device.
        bits: uint8 `[M, ceil(V / 8)]`.
    """
    shifts = torch.arange(8, dtype=torch.uint8, device=logits.device)
    forbidden = (bits[:, :, None] >> shifts & 1).logical_not().view(len(rows), -1)[:, : logits.shape[1]]  # [M, V]
    if not logits.is_cpu:
        forbid_at_once(logits, rows, forbidden)
        return
    for row, mask in zip(rows.tolist(), forbidden, strict=True):
        logits[row].masked_fill_(mask, -torch.inf)


def forbid_at_once(logits: Tensor, rows: Tensor, forbidden: Tensor) -> None:
    """The same in three launches, whatever the number of rows.

    Args:
        logits: float32 `[R, V]`, changed in place.
        rows: int64 `[M]`.
        forbidden: bool `[M, V]`.
    """
    logits.index_copy_(0, rows, logits.index_select(0, rows).masked_fill_(forbidden, -torch.inf))
