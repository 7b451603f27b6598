"""The memory beside the weights is shared out so that what was asked for fits, or nothing starts."""

import pytest
import torch

from loraplex_server.engine.config import Device, EngineConfig
from loraplex_server.engine.device import resolve_device, resolve_dtype, room_for
from loraplex_server.engine.errors import EngineStartError
from loraplex_server.engine.loaders import loader_threads
from loraplex_server.engine.memory import MemoryPlan, free_bytes, free_for, kv_cache_dtype, plan_memory
from loraplex_server.engine.memory_report import memory_report
from loraplex_server.engine.step_needs import StepNeeds

CPU = torch.device("cpu")


def config(**options: object) -> EngineConfig:
    return EngineConfig(**({"model": "m", "block_size": 16, "max_num_seqs": 4} | options))


def test_the_cache_is_no_larger_than_all_sequences_could_fill() -> None:
    plan = plan_memory(config(kv_cache_memory=10**9), 100, 1000, CPU)
    assert plan.num_blocks == 4 * 7
    assert plan.kv_cache_bytes == 28_000
    assert plan.max_model_len == 100


def test_without_a_wish_the_longest_sequence_is_what_the_cache_holds() -> None:
    assert plan_memory(config(kv_cache_memory=10_000), 10_000, 1000, CPU).max_model_len == 160


def test_a_length_that_was_asked_for_must_fit() -> None:
    with pytest.raises(EngineStartError, match=r"--kv-cache-memory 10000: .* 10000 tokens needs 625000 bytes"):
        plan_memory(config(kv_cache_memory=10_000, max_model_len=10_000), 10_000, 1000, CPU)


def test_not_even_one_block_is_an_error() -> None:
    with pytest.raises(EngineStartError, match="--kv-cache-memory"):
        plan_memory(config(kv_cache_memory=999), 100, 1000, CPU)


def test_by_default_both_budgets_come_from_free_memory() -> None:
    plan = plan_memory(config(max_num_seqs=10**6), 10**6, 1 << 20, CPU)
    assert plan.kv_cache_bytes > 0
    assert plan.adapter_bytes > 0


def test_on_a_gpu_a_server_takes_no_more_than_its_share_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, total, free = torch.device("cuda"), 1000 << 20, 900 << 20
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free, total))
    whole, half = (free_for(config(gpu_memory_utilization=share), gpu) for share in (1.0, 0.5))
    assert (whole, half) == (free, free - total // 2)
    assert free_for(config(gpu_memory_utilization=0.05), gpu) == 0
    plan = plan_memory(
        config(gpu_memory_utilization=0.5, adapter_host_memory=0, max_num_seqs=10**6), 1000, 1 << 20, gpu
    )
    assert plan.kv_cache_bytes + plan.adapter_bytes + plan.unassigned == half


def test_on_a_cpu_there_is_a_host_tier_only_where_it_is_asked_for() -> None:
    assert plan_memory(config(), 100, 1000, CPU).adapter_host_bytes == 0
    assert plan_memory(config(adapter_host_memory=5), 100, 1000, CPU).adapter_host_bytes == 5


def test_on_a_gpu_the_host_tier_is_a_share_of_the_hosts_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"cpu": 400 << 20, "cuda": 100 << 20}
    monkeypatch.setattr("loraplex_server.engine.memory.free_bytes", lambda device: free[device.type])
    gpu = torch.device("cuda")
    assert plan_memory(config(), 100, 1000, gpu).adapter_host_bytes == 100 << 20
    assert plan_memory(config(adapter_host_memory=0), 100, 1000, gpu).adapter_host_bytes == 0
    assert plan_memory(config(tensor_parallel_size=4), 100, 1000, gpu).adapter_host_bytes == 25 << 20


def test_a_containers_limit_counts_and_not_the_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraplex_server.engine.memory.memory_left", lambda: 1 << 20)
    assert free_bytes(CPU) == 1 << 20
    assert plan_memory(config(), 10**6, 1000, CPU).adapter_bytes == (1 << 20) // 5
    monkeypatch.setattr("loraplex_server.engine.memory.memory_left", lambda: 1 << 62)
    assert 1 << 20 < free_bytes(CPU) < 1 << 60


def test_what_steps_need_is_given_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraplex_server.engine.memory.free_bytes", lambda device: 1000)
    gpu = torch.device("cuda")
    plan = plan_memory(config(max_num_seqs=100), 16, 7, gpu, StepNeeds(activations=300, graphs=100))
    assert plan.kv_cache_bytes == 420
    assert plan.adapter_bytes == 120
    assert plan.unassigned == 60
    with pytest.raises(EngineStartError, match="--kv-cache-memory"):
        plan_memory(config(), 16, 7, gpu, StepNeeds(activations=1001))


@pytest.mark.parametrize("option", ["kv_cache_memory", "adapter_memory", "adapter_host_memory"])
def test_more_than_is_free_is_refused_and_not_promised(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loraplex_server.engine.memory.free_bytes", lambda device: 100_000)
    assert plan_memory(config(**{option: 30_000}, max_num_seqs=10**6), 10**6, 10, CPU).unassigned >= 0
    with pytest.raises(EngineStartError, match=r"100000 are free .* --adapter-memory"):
        plan_memory(config(**{option: 100_001}, max_num_seqs=10**6), 10**6, 10, CPU)


def test_the_report_says_where_the_memory_goes() -> None:
    plan = MemoryPlan(100, 3 << 30, 2 << 30, 0, 1600, 1 << 29)
    report = memory_report(plan, StepNeeds(activations=1 << 30), 5 << 30, 16)
    assert report.splitlines() == [
        "memory:",
        "  weights                  5.00 GiB",
        "  KV cache                 3.00 GiB  1,600 tokens, 100 blocks of 16",
        "  adapters                 2.00 GiB  at most",
        "  activations              1.00 GiB  of the largest step",
        "  free                     0.50 GiB",
    ]


@pytest.mark.parametrize(
    ("device", "cores", "threads"),
    [("cpu", 1, 1), ("cpu", 2, 1), ("cpu", 7, 1), ("cpu", 8, 2), ("cpu", 64, 4), ("cuda", 2, 2), ("cuda", 64, 4)],
)
def test_loads_overlap_where_they_do_not_take_the_cores_from_the_steps(device: str, cores: int, threads: int) -> None:
    assert loader_threads(torch.device(device), cores) == threads


def test_half_precision_checkpoints_run_in_a_format_that_the_cpu_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for native, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr("loraplex_server.engine.device._cpu_has_bfloat16", lambda native=native: native)
        assert resolve_dtype("auto", "bfloat16", CPU) == expected
        assert resolve_dtype("auto", "float16", CPU) == expected
    assert resolve_dtype("auto", "float32", CPU) == torch.float32
    assert resolve_dtype("float16", "float32", CPU) == torch.float16


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_asking_for_a_gpu_that_is_not_there_is_an_error() -> None:
    assert resolve_device("auto") == CPU
    with pytest.raises(EngineStartError, match="--device cuda"):
        resolve_device("cuda")


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_a_gpu_that_no_kernel_runs_on_is_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch, asked: Device) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    assert resolve_device(asked) == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    with pytest.raises(EngineStartError, match=f"--device {asked}: the GPU has compute capability 7.5"):
        resolve_device(asked)
    monkeypatch.setattr("loraplex_server.engine.device.has_triton", lambda: False)
    with pytest.raises(EngineStartError, match=f"--device {asked}: .* install triton"):
        resolve_device(asked)
    assert resolve_device("cpu") == CPU


def test_a_gpu_without_room_is_an_error_that_says_what_for() -> None:
    with (
        pytest.raises(EngineStartError, match=r"too small for the weights: take fewer\. torch: Tried to allocate"),
        room_for("the weights", "take fewer"),
    ):
        raise torch.OutOfMemoryError("Tried to allocate 2 GiB")


def test_keys_and_values_are_rounded_only_where_asked_and_never_on_a_cpu() -> None:
    assert kv_cache_dtype(config(), torch.bfloat16, CPU) == torch.bfloat16
    with pytest.raises(EngineStartError, match=r"--kv-cache-dtype fp8: .* use auto"):
        kv_cache_dtype(config(kv_cache_dtype="fp8"), torch.float32, CPU)


@pytest.mark.parametrize("capability", [(8, 6), (8, 9), (9, 0)])
def test_float8_keys_and_values_need_a_gpu_that_has_float8(monkeypatch, capability) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    wish = config(kv_cache_dtype="fp8")
    if capability < (8, 9):
        with pytest.raises(EngineStartError, match="--kv-cache-dtype fp8: this GPU"):
            kv_cache_dtype(wish, torch.bfloat16, torch.device("cuda"))
    else:
        assert kv_cache_dtype(wish, torch.bfloat16, torch.device("cuda")) == torch.float8_e4m3fn
