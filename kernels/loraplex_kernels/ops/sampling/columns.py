"""How each row of a step's logits is to be chosen from."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

# A token's weight is exp((logit - highest) / temperature) in float32, as an integer number of 2^-40: sums of integers
# are the same in every order, so that a row's choice hangs neither on the batch nor on how a kernel walks it.
# Of 2^20 tokens the sum stays below 2^60. A token below 2^-40 of the likeliest is never chosen.
WEIGHT_BITS = 40
LARGEST_VOCABULARY = 1 << 20


class Columns(NamedTuple):
    """Of R rows, on the device of the logits."""

    temperature: Tensor  # float32 [R]; 0: the likeliest token
    uniform: Tensor  # float64 [R], in [0, 1)
    top_k: Tensor  # int32 [R]; 0: off
    top_p: Tensor  # float64 [R]; 1: off
    min_p: Tensor  # float64 [R]; 0: off
    vocab: Tensor  # int32 [R]: the row's first so many logits are its own
