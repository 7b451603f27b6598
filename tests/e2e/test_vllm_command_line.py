"""A real server, started by a manifest that was written for vLLM."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.servers import DEMO, Server, serving

ADAPTER = DEMO / "adapters" / "reverse"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """As KServe's controller starts it: adapters in folders of their own, each also under the name that is routed."""
    modules = [{"name": name, "path": str(ADAPTER)} for name in ("reverse", "publishers/ns/models/reverse")]
    arguments = [
        *["serve", str(DEMO / "base"), "--served-model-name", "llm", "publishers/ns/models/llm"],
        *["--disable-access-log-for-endpoints", "/health,/metrics,/ping", "--shutdown-timeout", "15"],
        *["--enable-lora", "--max-lora-rank=64", "--max-loras=2", "--max-cpu-loras=4", "--lora-modules"],
        *[json.dumps(module) for module in modules],
        *["--gpu_memory_utilization", "0.9", "--enforce-eager", "--max-model-len", "1k", "--root-path", "/llm"],
    ]
    with serving(arguments, tmp_path_factory.mktemp("vllm") / "log") as running:
        yield running


def test_it_serves_the_adapters_under_all_their_names(server: Server) -> None:
    cards = {card["id"]: card for card in server.get("/v1/models").json()["data"]}
    assert sorted(cards) == ["llm", "publishers/ns/models/llm", "publishers/ns/models/reverse", "reverse"]
    assert cards["reverse"]["parent"] == "llm"
    example = json.loads((DEMO / "heldout" / "reverse.jsonl").read_text().splitlines()[0])
    for model in ("reverse", "publishers/ns/models/reverse"):
        body = {"model": model, "messages": [{"role": "user", "content": example["prompt"]}], "temperature": 0}
        answer = server.post("/v1/chat/completions", body).json()
        assert answer["choices"][0]["message"]["content"] == example["answer"]
    assert server.get("/v1/adapters/publishers/ns/models/reverse").json()["name"] == "publishers/ns/models/reverse"


def test_the_log_says_what_its_options_came_to(server: Server) -> None:
    log = server.log.read_text()
    assert "--max-loras 2: adapters are bounded by memory" in log
    assert "--enable-lora: adapters are always served" in log


def test_paths_are_served_behind_their_prefix_and_without_it(server: Server) -> None:
    assert server.get("/llm/v1/models").json() == server.get("/v1/models").json()
    assert server.get("/llmv1/models").status_code == 404


def test_a_module_that_is_no_adapter_ends_the_start(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match=r"--lora-modules: .* is no folder with an adapter_config"),
        serving(["serve", str(DEMO / "base"), "--lora-modules", f"a={tmp_path}"], tmp_path / "log"),
    ):
        raise AssertionError("it must not start")
