"""What bitsandbytes writes beside a weight that is no tensor: JSON in bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass

from torch import Tensor

KINDS = ("nf4", "fp4")


@dataclass(frozen=True)
class QuantState:
    """The parts of bitsandbytes' QuantState that are needed to read the weight."""

    kind: str
    blocksize: int
    nested: bool
    nested_blocksize: int
    nested_offset: float
    nbytes: int  # of the JSON

    @classmethod
    def usual(cls, kind: str) -> QuantState:
        """That of a weight whose state is missing, to name what else should be there."""
        return cls(kind, 64, False, 256, 0.0, 0)


def read_state(raw: Tensor, kind: str, shape: tuple[int, int]) -> QuantState:
    """Parse and check it.

    Args:
        raw: uint8, UTF-8.
        kind: nf4 or fp4, as the tensor's name says.
        shape: that the weight must have.

    Raises:
        ValueError: it is not such JSON, or it is about another weight.
    """
    try:
        state = json.loads(bytes(raw.flatten().tolist()).decode("utf-8"))
        found = tuple(state["shape"])
        blocksize, nested = int(state["blocksize"]), "nested_blocksize" in state
        nested_blocksize = int(state.get("nested_blocksize", 1))
        result = QuantState(
            kind, blocksize, nested, nested_blocksize, float(state.get("nested_offset", 0.0)), raw.numel()
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not the JSON of a quantization state: {error!r}") from error
    if state.get("quant_type") != kind or found != shape or blocksize < 1 or nested_blocksize < 1:
        raise ValueError(
            f"it is the state of {state.get('quant_type')} {list(found)} in blocks of {blocksize}, "
            f"where {kind} {list(shape)} is expected"
        )
    return result
