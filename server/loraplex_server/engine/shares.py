"""What the engine takes where nothing was asked for: shares of what is free, and the size of a step."""

from __future__ import annotations

# Of what is free once the weights are loaded, without what steps were measured to need. The rest is for whatever else
# runs; on a CPU, where nothing is measured, for the activations too.
KV_SHARE = {"cpu": 0.3, "cuda": 0.7}
ADAPTER_SHARE = {"cpu": 0.2, "cuda": 0.2}
# Of the host's free memory, for adapters that left the device. On a CPU that is the memory that they left.
ADAPTER_HOST_SHARE = {"cpu": 0.0, "cuda": 0.25}
_BATCHED_TOKENS = {"cpu": 512, "cuda": 4096}  # of one step


def step_tokens(device: str, asked: int | None, sequences: int) -> int:
    """Tokens of the largest step.

    Args:
        device: cpu or cuda.
        asked: for; None: nothing was.
        sequences: at once; decoding takes one token of each, so there are never fewer.
    """
    return max(asked or _BATCHED_TOKENS[device], sequences)
