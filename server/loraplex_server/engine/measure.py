"""The memory that steps take on a GPU, found out by computing the largest ones."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from loraplex_kernels.attention import allocate
from loraplex_server.engine.graphs.build import decode_graphs
from loraplex_server.engine.graphs.decode import DecodeGraphs
from loraplex_server.engine.graphs.key import AT_START, RANKS, GraphKey
from loraplex_server.engine.rehearsal import StepSizes, rehearse, zero_adapters
from loraplex_server.engine.step_needs import StepNeeds, give_back, kept_by, peak_of
from loraplex_server.models.decoder import Decoder


def measure_steps(
    model: Decoder,
    sizes: StepSizes,
    device: torch.device,
    *,
    dtype: torch.dtype,
    stored: torch.dtype,
    int8: bool,
    graphs: bool,
) -> StepNeeds:
    """Compute the largest steps on a small cache of their own, which also compiles their kernels. Zeros on a CPU.

    Nothing of it is left on the GPU but what libraries keep.

    Args:
        model: loaded.
        sizes: of the largest step.
        device: the model's.
        dtype: of the activations.
        stored: of the keys and values.
        int8: whether adapters are.
        graphs: whether decode steps are going to be captured.
    """
    if device.type != "cuda":
        return StepNeeds()
    needs = _measured(model, sizes, device, dtype=dtype, stored=stored, int8=int8, graphs=graphs)
    give_back(device)  # the cache, the adapters and the graphs, which would be counted as taken and as needed
    return needs


def _measured(
    model: Decoder,
    sizes: StepSizes,
    device: torch.device,
    *,
    dtype: torch.dtype,
    stored: torch.dtype,
    int8: bool,
    graphs: bool,
) -> StepNeeds:
    shape = model.config
    blocks = max(sizes.blocks(counts) for counts in sizes.all_counts())
    cache = allocate(shape.num_layers, blocks, shape.num_kv_heads, sizes.block_size, shape.head_dim, stored, device)
    table = zero_adapters(model, dtype, device, int8=int8)
    rehearse(model, cache, table, sizes)  # once before: libraries keep workspaces, which are no step's own
    activations = peak_of(lambda: rehearse(model, cache, table, sizes), device)
    if not graphs:
        return StepNeeds(activations)
    decode, shared = kept_by(
        lambda: decode_graphs(model, cache, table, max_rows=sizes.sequences, max_context=sizes.length), device
    )
    return StepNeeds(activations, 0 if decode is None else shared + _captured(decode, device))


@torch.inference_mode()
def _captured(graphs: DecodeGraphs, device: torch.device) -> int:
    """Bytes of as many graphs as are kept at most, told from the largest and the next size of three kinds.

    One of the kinds is the one that needs most, which no start captures: all kinds share its scratch.
    """
    widest = GraphKey(0, RANKS[-1], magnitude=True)
    kinds = [widest, *(GraphKey(0, rank) for rank in AT_START)]

    def kept(rows: int) -> int:
        return kept_by(lambda: [graphs.cache[replace(kind, rows=rows)] for kind in kinds], device)[1]

    largest, *smaller = reversed(graphs.sizes)
    first = kept(largest)  # with the scratch that all others share
    each = (kept(smaller[0]) if smaller else first) / len(kinds)
    return first + math.ceil(each * (graphs.cache.most - len(kinds)))
