"""A table of the vocabulary of which each rank has some of the rows: the embedding, the output layer, or both."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from loraplex_kernels.group import Group
from loraplex_kernels.linear import BaseWeight, RowWeight
from loraplex_server.models.division import span


class OutputPart:
    """An output layer: each rank scores its own tokens, and all are told all scores.

    Args:
        part: `[n, H]`: of all rows, the rank's `span`.
        vocab: rows of all ranks together.
        group: the ranks.
    """

    def __init__(self, part: BaseWeight, vocab: int, group: Group) -> None:
        self._part = part
        self.in_features = part.in_features
        self.out_features = vocab
        self._widths = [last - first for first, last in (span(vocab, rank, group.size) for rank in range(group.size))]
        self._group = group

    @property
    def nbytes(self) -> int:
        """Bytes of the rank's rows."""
        return self._part.nbytes

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `BaseWeight`.

        Raises:
            ValueError: there is a bias, which no output layer has.
        """
        if bias is not None:
            raise ValueError("an output layer that is divided among ranks has no bias")
        own = self._part(x)
        own = F.pad(own, (0, max(self._widths) - own.shape[1])).contiguous()
        gathered = self._group.all_gather(own)  # [ranks, T, most tokens of a rank]
        return torch.cat([part[:, :width] for part, width in zip(gathered, self._widths, strict=True)], dim=1)

    def dequantized(self) -> Tensor:
        """Raises RuntimeError: the rank has not all rows. `Decoder.base` knows where they are."""
        raise RuntimeError("a rank has only a part of the vocabulary's table")


class TablePart(OutputPart):
    """An embedding, which may be the output layer too.

    Args:
        part: see OutputPart.
        vocab: see OutputPart.
        group: see OutputPart.
    """

    def __init__(self, part: RowWeight, vocab: int, group: Group) -> None:
        super().__init__(part, vocab, group)
        self._rows = part.rows
        self._first, self._last = span(vocab, group.rank, group.size)

    def rows(self, index: Tensor) -> Tensor:
        """See `RowWeight`: the sum of what each rank has of them, and zeros."""
        own = (index >= self._first) & (index < self._last)
        rows = self._rows((index - self._first).clamp(0, self._last - self._first - 1)) * own[:, None]
        self._group.all_reduce(rows)
        return rows
