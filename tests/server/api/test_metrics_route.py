"""/metrics after real requests, as Prometheus reads it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from support.api import Api, write_adapters
from support.fake_engine import FakeEngine

from loraplex_server.api.access.caller import ANYONE
from loraplex_server.api.process.inside import inside_client
from loraplex_server.engine.interface import EngineDeadError, QueueFullError
from loraplex_server.engine.messages import AdapterStats, EngineInfo, EngineStats, Steps
from loraplex_server.metrics import registry

Says = Callable[..., FakeEngine]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(api: Api) -> Samples:
    api.services.metrics._written_at = float("-inf")  # tests do not wait for the cache to age
    text = (await api.get("/metrics")).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    found = [v for (n, ls), v in samples.items() if n == name and set(labels.items()) <= ls]
    assert len(found) == 1, (name, labels, found)
    return found[0]


async def test_requests_are_counted_and_timed(api: Api, says: Says) -> None:
    says("hello there")
    output = len(api.renderer.tokenizer.encode("hello there").ids) + 1
    began = time.time()
    await api.chat({"model": "alpha", "n": 2, "max_tokens": 20})
    await api.complete({"prompt": [5, 6, 7], "max_tokens": 1})
    samples = await scrape(api)
    prompt = len(api.engine.requests[0].prompt_token_ids)
    assert value(samples, "vllm:prompt_tokens_total") == prompt + 3
    assert value(samples, "vllm:prompt_tokens_cached_total") == 2
    assert began <= value(samples, "loraplex_last_token_timestamp_seconds") <= time.time()
    assert value(samples, "vllm:request_max_num_generation_tokens_sum") == output + 1
    assert value(samples, "vllm:request_max_num_generation_tokens_count") == 2
    assert value(samples, "vllm:generation_tokens_total") == 2 * output + 1
    assert value(samples, "vllm:request_success_total", finished_reason="stop") == 2
    assert value(samples, "vllm:request_success_total", finished_reason="length") == 1
    assert value(samples, "vllm:time_to_first_token_seconds_count") == 2
    assert value(samples, "vllm:request_queue_time_seconds_sum") == 1.0
    assert value(samples, "vllm:request_prefill_time_seconds_sum") == 0.5
    assert value(samples, "vllm:request_prompt_tokens_sum") == prompt + 3
    assert value(samples, "vllm:request_generation_tokens_count") == 3
    assert value(samples, "vllm:request_params_n_sum") == 3
    assert value(samples, "vllm:request_params_max_tokens_sum") == 21
    assert value(samples, "vllm:inter_token_latency_seconds_count") == 2 * (output - 1)
    assert value(samples, "vllm:request_time_per_output_token_seconds_count") == 2
    for name in ("e2e_request_latency", "request_decode_time", "request_inference_time"):
        assert value(samples, f"vllm:{name}_seconds_count") == 3
    assert value(samples, "loraplex_adapter_requests_total", adapter="alpha", outcome="stop") == 1
    assert value(samples, "loraplex_adapter_requests_total", adapter="base", outcome="length") == 1
    assert value(samples, "loraplex_adapter_tokens_total", adapter="alpha", kind="generation") == 2 * output
    assert value(samples, "loraplex_adapter_tokens_total", adapter="alpha", kind="prompt") == prompt


async def test_failures_and_refusals_are_counted_apart(api: Api, says: Says) -> None:
    says("hello there")
    api.engine.failure = QueueFullError("full", 1)
    await api.complete({"prompt": "x"})
    api.engine.failure, api.engine.fail_after = EngineDeadError("dead"), 1
    await api.complete({"prompt": "x", "stream": True})
    await api.complete({"prompt": "x"})
    api.services.drain.begin()
    await api.complete({"prompt": "x"})
    samples = await scrape(api)
    assert value(samples, "vllm:admission_rejections_total", reason="max_num_queued_reqs") == 1
    assert value(samples, "vllm:admission_rejections_total", reason="engine_unavailable") == 1
    assert value(samples, "vllm:admission_rejections_total", reason="draining") == 1
    assert value(samples, "vllm:request_success_total", finished_reason="error") == 2
    assert value(samples, "vllm:e2e_request_latency_seconds_count") == 0


async def test_responses_are_counted_by_status_and_probes_are_not(api: Api, says: Says) -> None:
    says("hello")
    await api.complete({"prompt": "x"})
    await api.complete({"prompt": "x", "stream": True})
    await api.complete({"prompt": "x", "model": "nobody"})
    await api.complete({"prompt": "x", "max_tokens": -1})
    api.engine.failure = QueueFullError("full", 1)
    await api.complete({"prompt": "x"})
    api.engine.failure = ValueError("a fault of ours")
    await api.complete({"prompt": "x"})
    api.engine.healthy = False
    for path in ("/health", "/ready", "/metrics", "/version"):
        await api.get(path)
    samples = await scrape(api)
    counts = {dict(labels)["code"]: v for (name, labels), v in samples.items() if "http_responses_total" in name}
    assert counts == {"200": 2, "404": 1, "400": 1, "429": 1, "500": 1}


async def test_what_the_server_asks_itself_is_no_response(api: Api, says: Says) -> None:
    says("hello")
    async with inside_client(api.app, ANYONE) as client:
        assert (await client.post("/v1/completions", json={"prompt": "x"})).status_code == 200
    assert not [name for name, _ in await scrape(api) if "http_responses_total" in name]


async def test_a_name_nobody_has_never_becomes_a_label(api: Api) -> None:
    for name in ("nobody", "x" * 1000):
        await api.complete({"prompt": "x", "model": name})
    assert not any("nobody" in str(labels) or "xxx" in str(labels) for _, labels in await scrape(api))


async def test_adapters_with_labels_are_bounded(make_api: Callable[..., Api], adapters: Path, says: Says) -> None:
    says("x")
    write_adapters(adapters, *(f"a{i}" for i in range(30)))
    api = make_api(metrics_max_adapters=5)
    for i in range(30):
        assert (await api.complete({"prompt": "x", "model": f"a{i}"})).status_code == 200
    samples = await scrape(api)
    labels = {dict(labels)["adapter"] for name, labels in samples if name == "loraplex_adapter_requests_total"}
    assert labels == {"base", "a0", "a1", "a2", "a3", "a4", "other"}
    assert value(samples, "loraplex_adapter_requests_total", adapter="other", outcome="stop") == 25


async def test_the_format_is_the_same_whatever_the_scraper_accepts(api: Api) -> None:
    openmetrics = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5"
    for accept in ("*/*", openmetrics, "application/json"):
        response = await api.get("/metrics", accept=accept)
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "vllm:num_requests_running{" in response.text
        assert "_created" not in response.text
        assert "# EOF" not in response.text


async def test_there_is_one_live_series_of_lora_requests(api: Api) -> None:
    for resident, waiting in ((["alpha"], []), (["alpha", "beta"], ["gamma", "beta"]), (["gamma"], ["alpha"])):
        adapters = AdapterStats(resident=resident, waiting=waiting, resident_bytes=1 << 18)
        api.engine.stats = EngineStats(adapters=adapters)
        samples = await scrape(api)
        (labels,) = [dict(labels) for name, labels in samples if name == "vllm:lora_requests_info"]
        running, queued = labels["running_lora_adapters"].split(","), labels["waiting_lora_adapters"].split(",")
        assert running == sorted(resident)
        assert not set(running) & set(queued)
        assert int(labels["max_lora"]) == len(resident) * 4
        assert value(samples, "vllm:lora_requests_info") > 1_700_000_000


async def test_text_is_written_once_for_many_scrapers(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1.0
    monkeypatch.setattr(registry, "time", SimpleNamespace(monotonic=lambda: now))
    first = (await api.get("/metrics")).text
    await api.complete({"prompt": "x", "model": "nobody"})
    now += 0.9 * registry.FRESH_S
    assert (await api.get("/metrics")).text == first
    now += 0.2 * registry.FRESH_S
    assert 'loraplex_http_responses_total{code="404"} 1.0' in (await api.get("/metrics")).text


async def test_the_engines_word_is_told_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Routers choose by it."""
    monkeypatch.setattr(registry, "time", SimpleNamespace(monotonic=lambda: 1.0))
    for running in (0, 5, 3):
        api.engine.stats = EngineStats(running=running)
        text = (await api.get("/metrics")).text
        assert f'vllm:num_requests_running{{engine="0",model_name="test-model"}} {running}.0' in text


async def test_the_text_is_what_prometheus_client_would_write_of_it(api: Api, says: Says) -> None:
    says("hello there")
    for name in ("alpha", "beta", "test-model"):
        await api.complete({"prompt": "x", "model": name, "max_tokens": 3})
    text = (await api.get("/metrics")).content
    families = list(text_string_to_metric_families(text.decode()))
    assert len({family.name for family in families}) == len(families) > 50
    again = SimpleNamespace(collect=lambda: families)
    assert generate_latest(again) == text


async def test_the_app_absorbs_each_word_of_the_engine_while_nobody_scrapes(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    absorbed: list[EngineStats] = []
    absorb = api.services.metrics.engine.absorb

    def noted(info: EngineInfo | None, stats: EngineStats) -> None:
        absorb(info, stats)
        absorbed.append(stats)

    monkeypatch.setattr(api.services.metrics.engine, "absorb", noted)
    async with api.app.router.lifespan_context(api.app):
        for tokens in (3, 5):  # with nothing awaited between them, as where this process was held up
            api.engine.stats = EngineStats(steps=Steps(tokens=[tokens] * 2))
    assert len(absorbed) >= 2
    samples = await scrape(api)
    assert value(samples, "vllm:iteration_tokens_total_count") == 4
    assert value(samples, "vllm:iteration_tokens_total_sum") == 16
