"""What an engine replays its decode steps from: graphs on a GPU, tapes on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from loraplex_kernels.attention import KVLayer
from loraplex_kernels.attention.native import supported
from loraplex_kernels.attention.op import triton_installed
from loraplex_kernels.lora import AdapterTable
from loraplex_server.engine.graphs.capture import CudaCapture
from loraplex_server.engine.graphs.decode import DecodeGraphs, DecodeShape, forward_on
from loraplex_server.engine.graphs.tapes import DecodeTapes
from loraplex_server.models.decoder import Decoder


def decode_graphs(
    model: Decoder, cache: Sequence[KVLayer], table: AdapterTable, *, max_rows: int, max_context: int
) -> DecodeGraphs | None:
    """Nothing captured yet; None where the forward cannot be.

    Attention that the Triton kernels do not take goes through torch sequence by sequence, which hangs on lengths that
    only the host knows.

    Args:
        model: on a GPU.
        cache: that the forward reads and writes.
        table: the adapters' low-rank weights.
        max_rows: of the largest step.
        max_context: tokens of the longest sequence.
    """
    if not triton_installed():
        return None
    from loraplex_kernels.attention import triton_op

    layer, dtype, device = cache[0], table.dtype, table.device
    q = torch.empty(1, layer.num_kv_heads, layer.head_dim, dtype=dtype, device=device)
    if not triton_op.supported(q, layer):
        return None
    shape = DecodeShape(
        max_rows=max_rows,
        max_context=max_context,
        block_size=layer.block_size,
        hidden_size=model.config.hidden_size,
        dtype=dtype,
    )
    return DecodeGraphs(forward_on(model, cache), table, shape, CudaCapture(device, alone=model.shard is None))


def decode_tapes(
    model: Decoder, cache: Sequence[KVLayer], table: AdapterTable, *, max_rows: int, max_context: int
) -> DecodeTapes | None:
    """Nothing recorded yet; None where the forward cannot be, since no compiled kernel reads such heads.

    Args:
        model: on the CPU.
        cache: that the forward reads and writes.
        table: the adapters' low-rank weights.
        max_rows: of the largest step.
        max_context: tokens of the longest sequence.
    """
    layer = cache[0]
    q = torch.empty(1, model.config.num_heads, layer.head_dim, dtype=table.dtype)
    if not supported(q, layer):
        return None
    return DecodeTapes(model, cache, table, max_rows=max_rows, max_context=max_context)
