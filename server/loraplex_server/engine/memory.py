"""How the memory left beside the weights is shared between the KV cache and the adapters."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from loraplex_kernels.attention.cache import FLOAT8
from loraplex_server.engine.cgroup import memory_left
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.errors import EngineStartError
from loraplex_server.engine.shares import ADAPTER_HOST_SHARE, ADAPTER_SHARE, KV_SHARE
from loraplex_server.engine.step_needs import StepNeeds

CPU = torch.device("cpu")
NOTHING_MEASURED = StepNeeds()


@dataclass(frozen=True)
class MemoryPlan:
    """Sizes, in bytes and tokens."""

    num_blocks: int
    kv_cache_bytes: int
    adapter_bytes: int
    adapter_host_bytes: int
    max_model_len: int
    unassigned: int  # bytes of the device that nobody was given


def free_bytes(device: torch.device) -> int:
    """Memory that could be allocated now: of a GPU, or of the host, where a container's own limit counts as well."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    left = memory_left()
    return _available() if left is None else min(_available(), left)


def free_for(config: EngineConfig, device: torch.device) -> int:
    """Memory that this rank may still take: of a GPU, only up to the share that the settings give it."""
    free = free_bytes(device)
    if device.type != "cuda":
        return free // config.tensor_parallel_size  # all ranks are in the one host's memory
    if config.gpu_memory_utilization == 1.0:
        return free
    _, total = torch.cuda.mem_get_info(device)
    return max(free - int(total * (1.0 - config.gpu_memory_utilization)), 0)


def spare_bytes(config: EngineConfig, device: torch.device, needs: StepNeeds) -> int:
    """Memory that a rank can share out between its KV cache and its adapters, all ranks' weights loaded."""
    return max(free_for(config, device) - needs.activations - needs.graphs, 0)


def _available() -> int:
    try:
        with open("/proc/meminfo") as meminfo:
            fields = dict(line.split(":", 1) for line in meminfo)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def kv_cache_dtype(config: EngineConfig, dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """What keys and values are stored as.

    Args:
        config: the engine's.
        dtype: of the activations.
        device: that computes.

    Raises:
        EngineStartError: float8 was asked for where no kernel reads it.
    """
    if config.kv_cache_dtype == "auto":
        return dtype
    if device.type != "cuda":
        raise EngineStartError("--kv-cache-dtype fp8: keys and values are rounded on a GPU only; use auto")
    if torch.cuda.get_device_capability(device) < (8, 9):
        raise EngineStartError("--kv-cache-dtype fp8: this GPU is older than float8 (Ada, Hopper); use auto")
    return FLOAT8


def plan_memory(
    config: EngineConfig,
    wanted_len: int,
    bytes_per_block: int,
    device: torch.device,
    needs: StepNeeds = NOTHING_MEASURED,
    others: Sequence[int] = (),
) -> MemoryPlan:
    """Size the KV cache and the budgets for adapters.

    The KV cache is never larger than `max_num_seqs` sequences of the longest length could fill. Unless a length was
    asked for, the longest sequence is what the model allows and the cache can hold.

    Args:
        config: the engine's.
        wanted_len: tokens of the longest sequence: what was asked for, else what the model was made for.
        bytes_per_block: over all layers, keys and values.
        device: whose free memory is shared out, weights loaded.
        needs: of the steps; none of it is shared out.
        others: `spare_bytes` of the other ranks: the least is shared out on each.

    Raises:
        EngineStartError: the cache is too small for one sequence of the asked length, or more is asked for than is
            free.
    """
    free = min([spare_bytes(config, device, needs), *others])
    most_blocks = config.max_num_seqs * -(-wanted_len // config.block_size)
    kv_bytes = config.kv_cache_memory or int(free * KV_SHARE[device.type])
    num_blocks = min(kv_bytes // bytes_per_block, most_blocks)
    capacity = num_blocks * config.block_size
    if num_blocks == 0 or (config.max_model_len is not None and capacity < wanted_len):
        needed = -(-wanted_len // config.block_size) * bytes_per_block
        raise EngineStartError(
            f"--kv-cache-memory {kv_bytes}: one sequence of {wanted_len} tokens needs {needed} bytes; "
            "give it more, or lower --max-model-len"
        )
    adapter_bytes = config.adapter_memory or int(free * ADAPTER_SHARE[device.type])
    host_bytes = _host_bytes(config, device)
    given = num_blocks * bytes_per_block + adapter_bytes + (host_bytes if device.type == "cpu" else 0)
    if given > free:  # better now than when a system that promised too much ends the process
        raise EngineStartError(
            f"the KV cache and the adapters would take {given} bytes, and {free} are free beside the model: lower "
            "--kv-cache-memory, --adapter-memory or --adapter-host-memory"
        )
    return MemoryPlan(
        num_blocks=num_blocks,
        kv_cache_bytes=num_blocks * bytes_per_block,
        adapter_bytes=adapter_bytes,
        adapter_host_bytes=host_bytes,
        max_model_len=min(wanted_len, capacity),
        unassigned=free - given,
    )


def _host_bytes(config: EngineConfig, device: torch.device) -> int:
    """Of each rank: all are in the one host's memory."""
    if config.adapter_host_memory is not None:
        return config.adapter_host_memory
    return int(free_bytes(CPU) * ADAPTER_HOST_SHARE[device.type] / config.tensor_parallel_size)
