"""llm-d's endpoint picker reads our metrics unchanged: what its extractor of core metrics finds, while adapters
come and go.

Source of the rules: llm-d-router, pkg/epp/framework/plugins/datalayer/extractor/metrics/{extractor,spec,loraspec}.go.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from support.installed import program
from support.servers import NO_TLS, Server, serving

ADAPTERS = {"reverse", "upper", "json", "sort", "vowels", "shift", "add", "initials", "sentiment", "words"}
SCRAPES = 60
# promtool's only complaints are of vLLM's names.
VLLMS = ("metric names should not contain ':'", 'non-counter metrics should not have "_total" suffix')


@pytest.fixture(scope="module")
def churning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The demo with room for about three of its ten adapters."""
    arguments = ["demo", "--threads", "1", "--adapter-memory", "1MiB"]
    with serving(arguments, tmp_path_factory.mktemp("demo") / "log") as server:
        yield server


@dataclass
class Picked:
    """What the picker keeps of one endpoint."""

    waiting: int = 0
    running: int = 0
    kv_usage: float = 0.0
    max_active: int = 0
    active: set[str] = field(default_factory=set)
    queued: set[str] = field(default_factory=set)
    block_size: int = 0
    num_blocks: int = 0


def extract(text: str) -> Picked:
    """As the picker does with its default names; whatever it would report as an error is raised."""
    families = {family.name: family for family in text_string_to_metric_families(text)}

    def samples(name: str) -> list[Sample]:
        family = families[name]
        assert family.type == "gauge", name  # of other types it reads 0
        assert family.samples, name
        return family.samples

    picked = Picked()
    picked.waiting = int(samples("vllm:num_requests_waiting")[0].value)
    picked.running = int(samples("vllm:num_requests_running")[0].value)
    picked.kv_usage = samples("vllm:kv_cache_usage_perc")[0].value
    lora = max(samples("vllm:lora_requests_info"), key=lambda sample: sample.value)  # its value is when it was so
    picked.max_active = int(lora.labels["max_lora"])
    picked.active = names(lora.labels["running_lora_adapters"])
    picked.queued = names(lora.labels["waiting_lora_adapters"])
    cache = samples("vllm:cache_config_info")[0].labels
    picked.block_size, picked.num_blocks = int(cache["block_size"]), int(cache["num_gpu_blocks"])
    return picked


def names(listed: str) -> set[str]:
    return {name.strip() for name in listed.split(",")} - {""}


def affinity(picked: Picked, adapter: str) -> float:
    """The lora-affinity-scorer's: where it is, where there is room, where it is awaited."""
    if adapter in picked.active:
        return 1.0
    if len(picked.active) + len(picked.queued) < picked.max_active:
        return 0.8
    return 0.6 if adapter in picked.queued else 0.0


async def complete(client: httpx.AsyncClient, adapter: str) -> None:
    body = {"model": adapter, "prompt": "jasmine", "max_tokens": 8, "ignore_eos": True}
    (await client.post("/v1/completions", json=body)).raise_for_status()


async def test_the_picker_reads_a_server_whose_adapters_come_and_go(churning: Server) -> None:
    seen: list[Picked] = []
    over = False

    async def ask(client: httpx.AsyncClient, first: int) -> None:
        for adapter in itertools.islice(itertools.cycle(sorted(ADAPTERS)), first, None):
            if over:
                return
            await complete(client, adapter)

    async with httpx.AsyncClient(base_url=churning.url, timeout=120, verify=NO_TLS) as client:
        traffic = [asyncio.create_task(ask(client, 3 * number)) for number in range(3)]
        while len(seen) < SCRAPES or set().union(*(picked.active for picked in seen)) != ADAPTERS:
            seen.append(extract((await client.get("/metrics")).text))
            assert len(seen) < 100 * SCRAPES, "some adapter was never there"
            await asyncio.sleep(0.05)
        over = True
        await asyncio.gather(*traffic)
    for picked in seen:
        assert not picked.active & picked.queued
        assert picked.active | picked.queued <= ADAPTERS
        assert picked.max_active >= len(picked.active)
        assert 0 <= picked.kv_usage <= 1
        assert picked.waiting >= 0
        assert picked.block_size > 0
        assert picked.num_blocks > 0
    assert any(picked.running for picked in seen)
    assert all(len(picked.active) < len(ADAPTERS) for picked in seen)  # else nothing ever left


async def test_the_picker_prefers_the_server_that_has_the_adapter(churning: Server) -> None:
    async with httpx.AsyncClient(base_url=churning.url, timeout=120, verify=NO_TLS) as client:
        for adapter in sorted(ADAPTERS):
            await complete(client, adapter)
            picked = Picked()
            while adapter not in picked.active:
                await asyncio.sleep(0.05)  # the engine speaks four times a second
                picked = extract((await client.get("/metrics")).text)
            assert affinity(picked, adapter) == 1.0
            gone = ADAPTERS - picked.active
            assert all(affinity(picked, other) < 1.0 for other in gone)


def test_promtool_finds_nothing_wrong_but_vllms_names(churning: Server) -> None:
    churning.post("/v1/completions", {"model": "reverse", "prompt": "x", "max_tokens": 2}).raise_for_status()
    text = churning.get("/metrics").text
    done = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if not (line.startswith("vllm:") and line.endswith(VLLMS))] == []
    assert {line.split(" ")[0] for line in lines if line.endswith(VLLMS[1])} <= {"vllm:iteration_tokens_total"}
    assert done.returncode in (0, 3)  # 3: it complains


def test_models_say_what_hangs_on_what(churning: Server) -> None:
    """The picker and production-stack take whatever has a parent for an adapter."""
    models = {model["id"]: model for model in churning.get("/v1/models").json()["data"]}
    assert models.keys() >= ADAPTERS
    (base,) = (id for id, model in models.items() if model.get("parent") is None)
    for name in ADAPTERS:
        model = models[name]
        assert (model["object"], model["parent"]) == ("model", base)
        assert Path(model["root"]).name == name
        assert {"created", "owned_by"} <= model.keys()
