"""When requests arrive in an open loop."""

from __future__ import annotations

import numpy as np


def arrival_times(rate: float, burstiness: float, count: int, rng: np.random.Generator) -> list[float]:
    """Seconds from the start of the run to each arrival; the first is 0.

    The gaps are Gamma(shape = burstiness, scale = 1 / (rate x burstiness)): their mean is 1/rate and their coefficient
    of variation `burstiness ** -0.5`. Burstiness 1 is a Poisson process, less is burstier, more is more even
    (the convention of `vllm bench serve`; S-LoRA's cv is `burstiness ** -0.5`).

    Raises:
        ValueError: the rate or the burstiness is not above 0.
    """
    if rate <= 0 or burstiness <= 0:
        raise ValueError(f"--rate and --burstiness must be above 0, got {rate} and {burstiness}")
    gaps = rng.gamma(burstiness, 1 / (rate * burstiness), size=max(count - 1, 0))
    return [0.0, *np.cumsum(gaps).tolist()][:count]
