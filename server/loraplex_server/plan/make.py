"""From what is asked for to a plan."""

from __future__ import annotations

from dataclasses import replace

from loraplex_server.engine.shares import ADAPTER_HOST_SHARE, ADAPTER_SHARE, KV_SHARE
from loraplex_server.plan.adapter import PlannedAdapter, adapter_of_folder, lora_adapter
from loraplex_server.plan.asked import Adapters, Asked, Machine
from loraplex_server.plan.cache import kv_itemsize, plan_cache
from loraplex_server.plan.check import check
from loraplex_server.plan.divided import divided
from loraplex_server.plan.model import PlannedModel, itemsize
from loraplex_server.plan.plan import Plan
from loraplex_server.plan.processes import overhead
from loraplex_server.plan.steps import step_bytes
from loraplex_server.plan.weights import weight_parts


def make_plan(model: PlannedModel, machine: Machine, asked: Asked, adapters: Adapters) -> Plan:
    """Share the memory out as the engine does at its start.

    Args:
        model: whole.
        machine: to run on.
        asked: the settings.
        adapters: that there are.

    Raises:
        PlanError: the settings do not go together, or the machine is too small for them; the message says for what.
    """
    part = divided(model, machine.gpus)
    device = machine.device
    size = itemsize(part.dtype(asked.dtype, device))
    adapter = _adapter(part, asked, device, adapters)
    weights = weight_parts(part, asked, device)
    base = overhead(device, model.folder)
    steps = step_bytes(part.config, asked.step_tokens(device), asked.max_num_seqs, size)
    usable = int(machine.memory * asked.gpu_memory_utilization) if device == "cuda" else machine.memory
    held = sum(each.nbytes for each in weights) + base
    # A CPU's steps live of what is shared out to nobody; a GPU's are measured first.
    free = usable - held - (steps.total if device == "cuda" else 0)
    cache = plan_cache(
        part.config,
        asked,
        kv_itemsize(asked, device, size),
        asked.kv_cache_memory or int(max(free, 0) * KV_SHARE[device]),
    )
    plan = Plan(
        machine=replace(machine, memory=usable),
        asked=asked,
        model=part,
        weights=weights,
        overhead=base,
        steps=steps,
        cache=cache,
        adapter=adapter,
        adapters=adapters.count,
        adapter_room=asked.adapter_memory or int(max(free, 0) * ADAPTER_SHARE[device]),
        host_room=_host_room(machine, asked),
    )
    check(plan, free)
    return plan


def _adapter(model: PlannedModel, asked: Asked, device: str, wanted: Adapters) -> PlannedAdapter:
    if wanted.folder is not None:
        return adapter_of_folder(model, asked, device, wanted.folder)
    return lora_adapter(model, asked, device, wanted.rank, wanted.targets)


def _host_room(machine: Machine, asked: Asked) -> int:
    if asked.adapter_host_memory is not None:
        return asked.adapter_host_memory
    return int((machine.host_memory or 0) * ADAPTER_HOST_SHARE[machine.device] / machine.gpus)
