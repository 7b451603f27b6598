"""The next token of each row, and what is said of it, as the host hears of it."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import NamedTuple

from torch import Tensor

from loraplex_server.engine.logprobs import Scored
from loraplex_server.engine.messages import TokenLogprob
from loraplex_server.engine.sample_inputs import SampleInputs, sample_inputs
from loraplex_server.engine.sampler import Sampled, sample_on_device
from loraplex_server.engine.sequence import Sequence
from loraplex_server.engine.upload import Download


class Choice(NamedTuple):
    """Of one row."""

    token: int | None  # None where the row's logits are not finite
    logprob: TokenLogprob | None  # where it was asked for


class Choosing:
    """Choices on their way from the device: made when a step was launched, asked for when the host needs them.

    Args:
        sampled: what `sample_on_device` gave; its copy to the host is queued at once.
        inputs: that it was given.
    """

    def __init__(self, sampled: Sampled, inputs: SampleInputs) -> None:
        self._inputs = inputs
        self._download = Download([sampled.coded, *(sampled.scored.tensors if sampled.scored is not None else ())])

    def finish(self) -> list[Choice]:
        """One choice a row. The one moment at which the host waits for the device."""
        coded, *scored = self._download.wait()
        logprobs: dict[int, TokenLogprob] = {}
        if scored:
            rows = self._inputs.asked.tolist()
            logprobs = dict(zip(rows, Scored(*scored).read(self._inputs.alternatives.tolist()), strict=True))
        return [Choice(None if token < 0 else token, logprobs.get(row)) for row, token in enumerate(coded.tolist())]


def choose(logits: Tensor, sequences: Seq[Sequence]) -> list[Choice]:
    """Choose a token for each row, and wait for it.

    Args:
        logits: float32 `[R, widest]`.
        sequences: of each row.
    """
    inputs = sample_inputs(sequences, logits.shape[1])
    return Choosing(sample_on_device(logits, inputs), inputs).finish()
