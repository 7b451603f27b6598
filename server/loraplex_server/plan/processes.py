"""What the processes take before they hold anything that was asked for.

Measured, not derived: `python benchmarks/plan_memory.py` measures it anew, and tests/e2e/test_plan.py fails where a
plan is no longer within 5 % of a running server. Python 3.11, torch 2.13 for CPUs, transformers 5.23, Linux x86-64.
"""

from __future__ import annotations

from pathlib import Path

MB = 1_000_000
# The engine's interpreter, torch and its libraries, once it is built.
ENGINE = 280 * MB
# What its loader and its first requests leave behind: threads, scratch, tapes.
USED = 10 * MB
# The process that speaks HTTP, without what it shares with the engine's; and what its tokenizer takes for each byte of
# its file.
HTTP = 103 * MB
TOKENIZER = 15.0
TYPICAL_TOKENIZER = 7 * MB  # where the file is not at hand
# Python objects for each linear of each adapter in memory.
SITE = 700
# CUDA's context and its libraries' workspaces. An estimate: no GPU was at hand.
CUDA_CONTEXT = 600 * MB


def bookkeeping(adapters: int, linears: int) -> int:
    """Bytes of what is known of adapters in memory beside their weights. Args: linears: of each."""
    return adapters * linears * SITE


def overhead(device: str, folder: Path) -> int:
    """Bytes of the processes themselves on a CPU, of CUDA's context on a GPU.

    Args:
        device: cpu or cuda.
        folder: of the model, whose tokenizer is loaded.
    """
    if device == "cuda":
        return CUDA_CONTEXT
    file = folder / "tokenizer.json"
    size = file.stat().st_size if file.is_file() else TYPICAL_TOKENIZER
    return ENGINE + USED + HTTP + int(TOKENIZER * size)
