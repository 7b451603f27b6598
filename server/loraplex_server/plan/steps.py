"""What computing takes beside what stays: the largest step's activations and scores."""

from __future__ import annotations

from dataclasses import dataclass

from loraplex_server.models.config import DecoderConfig

# Tensors as wide as the hidden state that are alive at once: residual, norm, attention's and the MLP's output.
_HIDDEN = 4
# Tables of a score for each token of the vocabulary, float32, one row a sequence: the logits, and what choosing from
# them makes on its way.
_SCORES = 2
# The C library's heap keeps some of what is freed in pieces that the next step cannot use.
_HEAP = 1.5


@dataclass(frozen=True)
class StepBytes:
    """Of the largest step."""

    activations: int
    scores: int

    @property
    def total(self) -> int:
        """Both."""
        return self.activations + self.scores


def step_bytes(config: DecoderConfig, tokens: int, sequences: int, itemsize: int) -> StepBytes:
    """Layers share the room of one, so this does not hang on how many there are.

    Args:
        config: of the model; of one rank where it is divided.
        tokens: of the largest step.
        sequences: that choose a token in it.
        itemsize: of an activation.
    """
    qkv = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
    row = _HIDDEN * config.hidden_size + qkv + config.num_heads * config.head_dim + 3 * config.intermediate_size
    scores = _SCORES * sequences * config.vocab_size * 4
    return StepBytes(int(_HEAP * tokens * row * itemsize), int(_HEAP * scores))
