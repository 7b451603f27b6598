"""What a plan is asked for: the settings of `loraplex serve` that memory depends on, and the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from loraplex_server.engine.config import AdapterDType, DType, HeadQuantization, KVCacheDType, Quantization
from loraplex_server.engine.shares import step_tokens


@dataclass(frozen=True)
class Machine:
    """Where it is to run.

    Args:
        name: for people.
        device: that computes.
        memory: bytes of one GPU, or what a CPU server may take of the host.
        host_memory: bytes of the host beside a GPU, for adapters that left it; None: not known.
        gpus: that the model is divided among; 1 on a CPU.
        read_gb_s: memory read, 1e9 bytes a second, of one GPU or of the host; None: not known.
        tflops: 1e12 operations a second in bfloat16, of one; None: not known.
    """

    name: str
    device: Literal["cpu", "cuda"]
    memory: int
    host_memory: int | None = None
    gpus: int = 1
    read_gb_s: float | None = None
    tflops: float | None = None


@dataclass(frozen=True)
class Adapters:
    """Those that there are, all alike.

    Args:
        count: how many.
        rank: r.
        targets: ends of the names of the modules that they adapt; none: all linears.
        folder: of one that they are all like, in place of rank and targets.
    """

    count: int = 1
    rank: int = 16
    targets: tuple[str, ...] = ()
    folder: Path | None = None


@dataclass(frozen=True)
class Asked:
    """Settings, by the names that `serve` has for them; None: as `serve` chooses."""

    dtype: DType = "auto"
    quantization: Quantization = "auto"
    head_quantization: HeadQuantization = "auto"
    kv_cache_dtype: KVCacheDType = "auto"
    kv_cache_memory: int | None = None
    adapter_dtype: AdapterDType = "auto"
    adapter_memory: int | None = None
    adapter_host_memory: int | None = None
    max_model_len: int | None = None
    max_num_seqs: int = 32
    max_num_batched_tokens: int | None = None
    block_size: int = 16
    gpu_memory_utilization: float = 1.0

    def step_tokens(self, device: str) -> int:
        """Of the largest step."""
        return step_tokens(device, self.max_num_batched_tokens, self.max_num_seqs)
