"""What the KV cache takes, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass

from loraplex_kernels.cache_bytes import block_bytes
from loraplex_server.models.config import DecoderConfig
from loraplex_server.plan.asked import Asked
from loraplex_server.plan.error import PlanError


@dataclass(frozen=True)
class PlannedCache:
    """Args: blocks: of block_size tokens, block_nbytes bytes each."""

    blocks: int
    block_size: int
    block_nbytes: int

    @property
    def nbytes(self) -> int:
        """Of all blocks."""
        return self.blocks * self.block_nbytes

    @property
    def tokens(self) -> int:
        """Of all sequences together."""
        return self.blocks * self.block_size

    @property
    def token_nbytes(self) -> float:
        """Of one token."""
        return self.block_nbytes / self.block_size

    def sequences(self, length: int) -> int:
        """Of so many tokens each that fit at once."""
        return self.blocks // -(-length // self.block_size)


def kv_itemsize(asked: Asked, device: str, itemsize: int) -> int:
    """Bytes of a stored key's or value's number.

    Raises:
        PlanError: float8 on a CPU, where no kernel reads it.
    """
    if asked.kv_cache_dtype == "auto":
        return itemsize
    if device != "cuda":
        raise PlanError("--kv-cache-dtype fp8: keys and values are rounded on a GPU only; use auto")
    return 1


def plan_cache(config: DecoderConfig, asked: Asked, itemsize: int, room: int) -> PlannedCache:
    """As many blocks as there is room for, and no more than all sequences could fill.

    Args:
        config: of the model; of one rank where it is divided.
        asked: the settings.
        itemsize: of a stored number.
        room: bytes.
    """
    nbytes = block_bytes(config.num_layers, config.num_kv_heads, asked.block_size, config.head_dim, itemsize)
    most = asked.max_num_seqs * -(-config.max_model_len // asked.block_size)
    return PlannedCache(min(room // nbytes, most), asked.block_size, nbytes)
