"""What the engine is told at its start; resolved once, never changed."""

from __future__ import annotations

from typing import Literal

import msgspec

Device = Literal["auto", "cpu", "cuda"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
# auto: the checkpoint as it is, quantized or not; the others are what load_model knows.
Quantization = Literal["auto", "none", "int4", "int4-32", "nf4", "int8", "int8-weight", "fp8"]
# auto: int8 where the layers' linears are rounded at start too, on a CPU that multiplies bytes.
HeadQuantization = Literal["auto", "none", "int8"]
AdapterDType = Literal["auto", "int8"]
KVCacheDType = Literal["auto", "fp8"]
Speculation = Literal["off", "ngram"]


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One engine process. Sizes are in bytes; None means "from what the machine has"."""

    model: str  # a checkpoint's folder, or a hub id
    device: Device = "auto"
    tensor_parallel_size: int = 1  # ranks that the model is divided among, each with a device; sizes are of each rank
    dtype: DType = "auto"
    quantization: Quantization = "auto"
    head_quantization: HeadQuantization = "auto"  # of lm_head, and of an embedding that is tied to it
    quantization_cache: str | None = None  # a folder that keeps rounded weights for the next start; None: none are kept
    max_model_len: int | None = None  # None: the model's own limit, as far as the KV cache allows
    max_num_seqs: int = 32
    max_num_batched_tokens: int | None = None  # None: 512 on a CPU, 4096 on a GPU
    max_queued_requests: int = 512
    max_queued_per_tenant: int | None = None  # None: as many as are left for others; one without a name has them all
    gpu_memory_utilization: float = 1.0  # of the whole GPU, what others took included; a CPU has cgroups for that
    kv_cache_memory: int | None = None
    adapter_memory: int | None = None
    # For adapters that left the device, on top of adapter_memory; None: a share of the host's memory on a GPU, nothing
    # on a CPU, where adapter_memory is host memory already.
    adapter_host_memory: int | None = None
    adapter_dtype: AdapterDType = "auto"  # auto: that of the activations; int8: rounded, which is not exact
    kv_cache_dtype: KVCacheDType = "auto"  # auto: that of the activations; fp8: rounded, which is not exact
    block_size: int = 16
    enable_prefix_caching: bool = True
    overlap: bool | None = None  # a step is chosen while the one before it runs; None: on a GPU
    graphs: bool = True  # decode steps are replayed: from CUDA graphs on a GPU, from tapes on the CPU
    speculation: Speculation = (
        "off"  # ngram: an answer's next tokens are proposed from where its last ones stood before
    )
    speculation_tokens: int = 5  # of the longest draft
    speculation_min_match: int | None = None  # tokens that must have stood before; None: 2
    speculation_max_match: int = 4  # tokens that are looked for first
    threads: int | None = None
    engine_step_timeout: float = 600.0  # seconds in which the process must say something once it is ready; 0: never
    log_level: str = "info"
    log_format: Literal["json", "console"] = "console"
