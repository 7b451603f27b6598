"""Memory is shared out on paper as it is by the engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.servers import DEMO

from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.memory import plan_memory
from loraplex_server.engine.step_needs import StepNeeds
from loraplex_server.plan.asked import Adapters, Asked, Machine
from loraplex_server.plan.divided import divided
from loraplex_server.plan.error import PlanError
from loraplex_server.plan.make import make_plan
from loraplex_server.plan.model import PlannedModel, read_model
from loraplex_server.plan.plan import Plan
from loraplex_server.plan.speed import speeds

GIB = 1 << 30
ON_CPU = Machine("a CPU", "cpu", 2 * GIB, read_gb_s=40.0)
ON_GPU = Machine("a GPU", "cuda", 4 * GIB, 8 * GIB, read_gb_s=1000.0, tflops=100.0)


@pytest.fixture(scope="module")
def model() -> PlannedModel:
    return read_model(str(DEMO / "base"), None)


def made(model: PlannedModel, machine: Machine = ON_CPU, adapters: int = 10, **asked: object) -> Plan:
    return make_plan(model, machine, Asked(**asked), Adapters(adapters, 8))  # type: ignore[arg-type]


@pytest.mark.parametrize("machine", [ON_CPU, ON_GPU], ids=lambda machine: machine.device)
@pytest.mark.parametrize(
    "asked", [{}, {"kv_cache_memory": 1 << 20}, {"adapter_memory": 9 << 20}, {"max_num_seqs": 5000, "block_size": 32}]
)
def test_cache_and_adapters_get_what_the_engine_would_give_them(
    model: PlannedModel, machine: Machine, asked: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = made(model, machine, **asked)
    left = {"cpu": ON_GPU.host_memory, "cuda": machine.memory - plan.weights_nbytes - plan.overhead}
    if machine.device == "cpu":
        left = {"cpu": left["cuda"]}
    monkeypatch.setattr("loraplex_server.engine.memory.free_bytes", lambda device: left[device.type])
    needs = StepNeeds(plan.steps.total) if machine.device == "cuda" else StepNeeds()
    engine = plan_memory(
        EngineConfig(model="", **asked), model.config.max_model_len, plan.cache.block_nbytes,  # type: ignore[arg-type]
        torch.device(machine.device), needs,
    )  # fmt: skip
    assert (plan.cache.blocks, plan.adapter_room, plan.host_room) == (
        engine.num_blocks, engine.adapter_bytes, engine.adapter_host_bytes,
    )  # fmt: skip
    assert plan.longest == engine.max_model_len


def test_a_step_is_as_large_as_the_engines(model: PlannedModel) -> None:
    assert Asked(max_num_seqs=600).step_tokens("cpu") == 600
    small, large = (made(model, max_num_batched_tokens=tokens).steps.activations for tokens in (128, 1024))
    assert large == pytest.approx(8 * small, rel=1e-3)


def test_adapters_that_do_not_fit_stay_on_the_host_or_the_disk(model: PlannedModel) -> None:
    size = made(model).adapter.pages
    plan = made(model, ON_GPU, 100, adapter_memory=40 * size, adapter_host_memory=25 * size)
    assert (plan.resident, plan.on_host, plan.beside_weights) == (40, 25, 0)  # the host's memory is not the GPU's
    on_cpu = made(model, ON_CPU, 100, adapter_memory=40 * size, adapter_host_memory=25 * size)
    assert on_cpu.beside_weights == 25 * size + on_cpu.bookkeeping
    assert made(model, adapters=10, adapter_memory=40 * size).adapters_nbytes == 40 * size  # claimed at the start


def test_what_is_too_small_is_said_with_what_would_do(model: PlannedModel) -> None:
    with pytest.raises(PlanError, match=r"does not fit .*--quantization int4.* a machine of .* has room"):
        made(model, replace(ON_CPU, memory=100 << 20))
    with pytest.raises(PlanError, match="one sequence of 512 needs"):
        made(model, max_model_len=512, kv_cache_memory=1 << 16)
    with pytest.raises(PlanError, match="are left; lower --kv-cache-memory"):
        made(model, adapter_memory=3 * GIB)
    with pytest.raises(PlanError, match="--adapter-host-memory"):
        made(model, adapter_host_memory=3 * GIB)
    with pytest.raises(PlanError, match=r"one adapter takes .* --adapter-memory"):
        made(model, adapter_memory=4096)
    with pytest.raises(PlanError, match="rounded on a GPU only"):
        made(model, kv_cache_dtype="fp8")
    with pytest.raises(PlanError, match="int8 runs on a CPU only"):
        made(model, ON_GPU, quantization="int8")


def test_a_divided_model_has_its_part_of_heads_width_and_tables(model: PlannedModel) -> None:
    whole, half = made(model, ON_GPU), made(model, replace(ON_GPU, gpus=2))
    assert half.cache.block_nbytes * 2 == whole.cache.block_nbytes
    assert half.weights[0].nbytes * 2 == whole.weights[0].nbytes
    assert half.weights[1].nbytes * 2 == pytest.approx(whole.weights[1].nbytes, rel=0.01)
    assert whole.adapter.nbytes / 2 < half.adapter.nbytes < whole.adapter.nbytes  # one side of each linear is whole
    assert half.host_room * 2 == whole.host_room  # of the one host
    assert made(model, replace(ON_GPU, gpus=2), adapter_host_memory=3 * GIB).host_room == 3 * GIB
    with pytest.raises(PlanError, match="--tensor-parallel-size 7: "):
        divided(model, 7)


def test_the_bound_counts_the_bytes_that_are_read(model: PlannedModel) -> None:
    plan = made(model, dtype="bfloat16")
    first, *_, last = speeds(plan, 64)
    read = sum(part.nbytes for part in plan.weights if part.name in ("linears", "lm_head", "embedding and lm_head"))
    read += 64 * plan.cache.token_nbytes
    assert first.batch == 1
    assert first.base == pytest.approx(40e9 / read)
    assert first.adapters == pytest.approx(40e9 / (read + plan.adapter.nbytes))
    assert last.batch == 32
    assert last.share > first.share > 0
    assert speeds(made(model, replace(ON_CPU, read_gb_s=None)), 64) == ()


def test_a_quantized_checkpoint_is_as_large_as_its_files_say(tmp_path: Path, model: PlannedModel) -> None:
    stored = {name: 1000 for linear in model.blueprint.linears[:-1] for name in linear.names}
    plan = made(replace(model, quantizer="gptq", stored=stored))
    assert plan.weights[0].nbytes == 1000 * len(stored)
    with pytest.raises(PlanError, match="quantized already, by gptq"):
        made(replace(model, quantizer="gptq", stored=stored), quantization="int4")


def test_no_division_is_advised_that_the_model_does_not_allow(model: PlannedModel) -> None:
    tiny = replace(ON_GPU, memory=1 << 20)
    with pytest.raises(PlanError, match="--tensor-parallel-size 2 divides them"):
        made(model, tiny)
    with pytest.raises(PlanError, match="does not fit") as caught:
        made(model, replace(tiny, gpus=2))  # 6 heads
    assert "--tensor-parallel-size" not in str(caught.value)
