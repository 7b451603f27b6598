"""What choosing a step's tokens takes on the CPU: greedily, from all tokens, and from those that filters leave.

    OMP_NUM_THREADS=2 python benchmarks/sampling_cpu.py

Logits are flat, as a model's of random weights, or steep, as a trained one's: a bell for most of the vocabulary and a
few tokens far above it. How many the filters leave is what a threshold's search hangs on.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.ops.sampling import Columns
from loraplex_kernels.ops.sampling.native import draw_native
from loraplex_server.bench.limits.timing import fastest

# What is asked for: temperature, top_k, top_p, min_p.
SETTINGS = {
    "greedy": (0.0, 0, 1.0, 0.0),
    "temperature 1": (1.0, 0, 1.0, 0.0),
    "top_p 0.9": (1.0, 0, 0.9, 0.0),
    "temperature 0.7, top_p 0.95": (0.7, 0, 0.95, 0.0),
    "top_k 50": (1.0, 50, 1.0, 0.0),
    "temperature 0.6, top_k 20, top_p 0.95": (0.6, 20, 0.95, 0.0),
    "min_p 0.05": (1.0, 0, 1.0, 0.05),
}


def flat(rows: int, vocabulary: int, random: torch.Generator) -> Tensor:
    """float32 `[rows, vocabulary]`, where no token stands out."""
    return torch.randn(rows, vocabulary, generator=random) * 0.6


def steep(rows: int, vocabulary: int, random: torch.Generator) -> Tensor:
    """float32 `[rows, vocabulary]`, where ten of the tokens have about 95 % of the weight."""
    logits = torch.randn(rows, vocabulary, generator=random) * 2.5
    places = torch.randint(vocabulary, (rows, 60), generator=random)
    return logits.scatter(1, places, 20 - 2 * torch.arange(1, 61).log().expand(rows, -1))


def columns(rows: int, vocabulary: int, setting: tuple[float, int, float, float], random: torch.Generator) -> Columns:
    """The same setting for each row, with a number of its own."""
    temperature, top_k, top_p, min_p = setting
    return Columns(
        torch.full((rows,), temperature),
        torch.rand(rows, dtype=torch.float64, generator=random),
        torch.full((rows,), top_k, dtype=torch.int32),
        torch.full((rows,), top_p, dtype=torch.float64),
        torch.full((rows,), min_p, dtype=torch.float64),
        torch.full((rows,), vocabulary, dtype=torch.int32),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--budget", type=float, default=0.5, help="seconds for each figure")
    given = parser.parse_args()
    library = native.library()
    if library is None:
        parser.error(native.status())
    random = torch.Generator().manual_seed(0)
    print(f"{native.status()}; {torch.get_num_threads()} threads; ms for {given.rows} rows of {given.vocabulary}\n")
    print(f"{'':40} {'flat':>8} {'steep':>8}")
    kinds = [make(given.rows, given.vocabulary, random) for make in (flat, steep)]
    for name, setting in SETTINGS.items():
        how = columns(given.rows, given.vocabulary, setting, random)
        cells = [fastest(lambda x=x, how=how: draw_native(library, x, how), given.budget) for x in kinds]
        print(f"{name:40} " + " ".join(f"{seconds * 1e3:8.2f}" for seconds in cells))


if __name__ == "__main__":
    main()
