"""Attention over a paged KV cache."""

from loraplex_kernels.attention.batch import AttentionBatch, Span, build_batch
from loraplex_kernels.attention.cache import KVLayer, allocate, bytes_per_block
from loraplex_kernels.attention.decode_rows import DecodeRows
from loraplex_kernels.attention.op import paged_attention, write_kv

__all__ = [
    "AttentionBatch",
    "DecodeRows",
    "KVLayer",
    "Span",
    "allocate",
    "build_batch",
    "bytes_per_block",
    "paged_attention",
    "write_kv",
]
