"""What a request waits longer for its first token because its adapter is not in the device's memory."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import torch

from gpu.cores import drain, first_token_seconds, make_core, submit
from loraplex_adapters.source import AdapterSource
from loraplex_server.models.decoder import Decoder

ENOUGH = 100  # of which one is the last in a hundred
RESIDENT = 3  # adapters that fit; each request then finds its own gone


def cold_minus_warm(
    model: Decoder,
    device: torch.device,
    dtype: torch.dtype,
    adapters: Sequence[AdapterSource],
    nbytes: int,
    prompt: int,
    rounds: int,
) -> dict[str, list[float]]:
    """Seconds that a cold request takes longer than the same one just after it, by where the adapter came from.

    Args:
        model: that serves.
        device: where it is.
        dtype: of its activations.
        adapters: more than `RESIDENT`, all of one size.
        nbytes: of one of them.
        prompt: tokens.
        rounds: through all adapters; the first finds them in files, the others in host memory.

    Returns:
        Lists under "file" and "host".
    """
    if len(adapters) <= RESIDENT:
        raise ValueError(f"more than {RESIDENT} adapters are needed to find one that is not in memory")
    core = make_core(
        model,
        device,
        dtype,
        sequences=1,
        length=prompt + 8,
        adapter_bytes=RESIDENT * nbytes,
        host_bytes=2 * len(adapters) * nbytes,
        graphs=False,
    )
    submit(core, "warm-up", prompt, 1, None)
    while core.has_work:
        core.step()
    found: dict[str, list[float]] = {"file": [], "host": []}
    for turn in range(rounds):
        for number, adapter in enumerate(adapters):
            before = core.store.stats()
            cold = first_token_seconds(core, prompt, adapter, seed=number)
            after = core.store.stats()
            warm = first_token_seconds(core, prompt, adapter, seed=number + len(adapters) * (turn + 1))
            came_from_host = after.host_loads_total > before.host_loads_total
            if came_from_host or after.loads_total > before.loads_total:
                found["host" if came_from_host else "file"].append(cold - warm)
    drain(core)
    core.store.close()
    return found


def shown(seconds: Sequence[float]) -> tuple[str, str, str, int]:
    """Cells, in milliseconds: the median, the 99th percentile where there are enough for one, the last; and of many."""
    if not seconds:
        return "none", "", "", 0
    ordered = sorted(seconds)
    late = f"{ordered[int(0.99 * len(ordered))] * 1e3:.2f}" if len(ordered) >= ENOUGH else f"under {ENOUGH}"
    return f"{statistics.median(ordered) * 1e3:.2f}", late, f"{ordered[-1] * 1e3:.2f}", len(ordered)
