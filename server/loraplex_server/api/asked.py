"""What a request asked the model for, as traces tell it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from loraplex_server.engine.messages import SamplingParams

# As OpenTelemetry's conventions for generative AI call them.
Operation = Literal["chat", "text_completion", "embeddings"]


class Asked(NamedTuple):
    """Args: response_id: of the answer. sampling: of the first prompt. answers: to each. stop: strings."""

    operation: Operation
    response_id: str
    sampling: SamplingParams
    answers: int
    stop: Sequence[str]
