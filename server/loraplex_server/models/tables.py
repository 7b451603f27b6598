"""The tables of the vocabulary, embedding and output layer: one weight where they are tied."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from loraplex_adapters.shard import SitePart
from loraplex_kernels.group import ALONE, Group
from loraplex_kernels.linear import BaseWeight, RowWeight
from loraplex_kernels.linear.dense import DenseWeight
from loraplex_server.models.blueprint import LinearPlan
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.errors import CheckpointError
from loraplex_server.models.linear_weights import LinearWeights
from loraplex_server.models.names import EMBEDDING, HEAD
from loraplex_server.models.parted import WHOLE
from loraplex_server.models.vocabulary_part import OutputPart, TablePart

EMBEDDING_WEIGHT, HEAD_WEIGHT = (f"{module}.weight" for module in (EMBEDDING, HEAD))


def same_table(checkpoint: Checkpoint) -> bool:
    """Tied, unless the checkpoint has a head that differs: transformers then takes the checkpoint's word for it."""
    if HEAD_WEIGHT not in checkpoint:
        return True
    return torch.equal(checkpoint.tensor(HEAD_WEIGHT), checkpoint.tensor(EMBEDDING_WEIGHT))


def make_tables(
    weights: LinearWeights, plan: LinearPlan, tied: bool, rows: SitePart = WHOLE, group: Group = ALONE
) -> tuple[RowWeight, BaseWeight]:
    """The embedding and the output layer.

    Args:
        weights: of the model.
        plan: of the output layer.
        tied: one table is both; the embedding then is the output layer's weight, rounded if that is.
        rows: this rank's.
        group: the ranks, which have the other rows.
    """
    vocab = plan.group.widths[0]

    def table(part: RowWeight) -> RowWeight:
        return part if group.size == 1 else TablePart(part, vocab, group)

    if tied:
        head = table(weights.table(EMBEDDING_WEIGHT, rows))
        return head, head
    embedding = table(DenseWeight(weights.floats(EMBEDDING_WEIGHT, cuts=(rows,))))
    if not weights.quantized(plan):
        return embedding, table(weights.table(HEAD_WEIGHT, rows))
    output = weights.make(plan, (rows,))
    return embedding, output if group.size == 1 else OutputPart(output, vocab, group)


class CheckpointTables:
    """The tables as the checkpoint has them, read from it again: for the rare adapter that brings a copy of one.

    Args:
        folder: of the checkpoint.
        fingerprint: of its files when the model was loaded.
        tied: of a head that is not in the checkpoint, the table is the embedding's.
    """

    def __init__(self, folder: Path, fingerprint: str, tied: bool) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        self._tied = tied

    def __call__(self, module: str) -> Tensor:
        """`[vocab, H]` of a module in the checkpoint's dtype.

        Raises:
            CheckpointError: the checkpoint cannot be read any more, or is another.
        """
        name = EMBEDDING_WEIGHT if self._tied else f"{module}.weight"
        with Checkpoint(self._folder) as checkpoint:
            if checkpoint.fingerprint != self._fingerprint:
                raise CheckpointError(f"checkpoint {self._folder} has changed since the model was loaded from it")
            return checkpoint.tensor(name).clone()
