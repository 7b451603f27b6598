"""What the paged KV cache takes in memory. Plain Python, for whoever plans it."""

from __future__ import annotations


def block_bytes(num_layers: int, num_kv_heads: int, block_size: int, head_dim: int, itemsize: int) -> int:
    """Bytes that one block takes over all layers, keys and values together."""
    return 2 * num_layers * num_kv_heads * block_size * head_dim * itemsize
