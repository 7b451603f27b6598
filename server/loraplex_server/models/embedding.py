"""From token ids to hidden states."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


class Embedding:
    """A table of vectors.

    Args:
        weight: `[vocab, H]`.
        scale: what each vector is multiplied by: Gemma's sqrt(H). Rounded to the table's dtype first, as
            transformers does (Gemma2TextScaledWordEmbedding), so that sqrt(3072) is 55.5 in bfloat16.
    """

    def __init__(self, weight: Tensor, scale: float = 1.0) -> None:
        self.weight = weight
        self.scale = None if scale == 1.0 else weight.new_tensor(scale)

    def __call__(self, token_ids: Tensor) -> Tensor:
        """int64 `[T]` to `[T, H]`."""
        hidden = F.embedding(token_ids, self.weight)
        return hidden if self.scale is None else hidden.mul_(self.scale)
