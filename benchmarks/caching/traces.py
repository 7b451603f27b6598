"""Which adapter each request names, and how large each is."""

from __future__ import annotations

import numpy as np

RANKS = (4, 8, 16, 32, 64)
PHASES = 8  # of the trace whose popularity changes all at once
SCAN_EVERY, SCAN_LENGTH = 8000, 2000  # requests; every other one of a scan goes through the catalogue in turn
DRIFT_EVERY = 200  # requests after which one of the 20 most popular changes places with any other


def sizes(adapters: int, bytes_per_rank: int, rng: np.random.Generator) -> list[int]:
    """Bytes of each adapter: a rank of RANKS at random, whatever its popularity."""
    return [int(rank) * bytes_per_rank for rank in rng.choice(RANKS, size=adapters)]


def traces(adapters: int, requests: int, exponent: float, seed: int) -> dict[str, list[int]]:
    """Indices of adapters by the trace's name; the same seed gives the same traces."""
    rng = np.random.default_rng(seed)
    weights = np.arange(1, adapters + 1) ** -exponent
    places = rng.choice(adapters, size=requests, p=weights / weights.sum())  # 0: the most popular place
    who = rng.permutation(adapters)
    zipf = who[places]
    phases = np.array_split(places, PHASES)
    scan = zipf.copy()
    swept = np.flatnonzero((np.arange(requests) % SCAN_EVERY >= SCAN_EVERY - SCAN_LENGTH) & (np.arange(requests) % 2))
    scan[swept] = np.arange(swept.size) % adapters
    return {
        "zipf": zipf.tolist(),
        "shift": np.concatenate([rng.permutation(adapters)[phase] for phase in phases]).tolist(),
        "drift": _drift(places, who, rng),
        "scan": scan.tolist(),
        "uniform": rng.integers(adapters, size=requests).tolist(),
    }


def _drift(places: np.ndarray, who: np.ndarray, rng: np.random.Generator) -> list[int]:
    who, drawn = who.copy(), []
    for first in range(0, len(places), DRIFT_EVERY):
        drawn += who[places[first : first + DRIFT_EVERY]].tolist()
        one, other = rng.integers(min(20, len(who))), rng.integers(len(who))
        who[[one, other]] = who[[other, one]]
    return drawn
