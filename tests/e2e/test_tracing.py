"""Traces of a real server: where each request's time went, as the engine's process tells it, and the log beside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.api import until
from support.collector import Collected, Collector, collecting
from support.servers import Server, serving

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CHAT = {"model": "words", "messages": [{"role": "user", "content": "apple"}], "max_tokens": 16, "temperature": 0}


@dataclass(frozen=True)
class Traced:
    server: Server
    collector: Collector

    async def root(self, request_id: str) -> Collected:
        """The span of one request."""

        def found() -> list[Collected]:
            return [span for span in self.collector.roots() if span.attributes["loraplex.request_id"] == request_id]

        await until(found)
        (root,) = found()
        return root

    async def lines(self, count: int = 1, **fields: str) -> list[dict[str, Any]]:
        """As many requests' lines with these fields; each may be written after its span was sent."""

        def found() -> list[dict[str, Any]]:
            whole = self.server.log.read_text().rpartition("\n")[0].splitlines()
            lines = [json.loads(line) for line in whole if line.startswith("{")]
            return [line for line in lines if line["message"] == "request" and fields.items() <= line.items()]

        await until(lambda: len(found()) >= count)
        return found()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    with collecting() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        patch.setenv("OTEL_SERVICE_NAME", "traced")
        arguments = ["demo", "--log-format", "json", "--state-dir", str(folder / "state")]
        with serving([*arguments, "--otlp-traces-endpoint", collector.url], folder / "log") as server:
            yield Traced(server, collector)


async def test_a_requests_time_is_told_part_by_part(traced: Traced) -> None:
    origins = []
    for request_id in ("cold", "warm"):
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "x-request-id": request_id}
        response = traced.server.post("/v1/chat/completions", CHAT, headers=headers)
        assert response.status_code == 200, response.text
        root = await traced.root(request_id)
        assert (root.trace_id, root.parent_id, root.name, root.status) == (TRACE, SPAN, "chat words", "UNSET")
        queue, load, prefill, decode = traced.collector.below(root)
        assert [span.name for span in (queue, load, prefill, decode)] == ["queue", "load_adapter", "prefill", "decode"]
        assert root.start <= queue.start <= load.start <= load.end <= queue.end <= prefill.start < prefill.end
        assert prefill.end <= decode.start <= decode.end <= root.end
        origins.append(load.attributes["loraplex.adapter.origin"])
        generation = load.attributes["loraplex.adapter.generation"]
        assert response.headers["x-loraplex-generation"] == generation
        (line,) = await traced.lines(request_id=request_id)
        assert (line["trace_id"], line["span_id"]) == (TRACE, root.span_id)
        # The log and the trace tell the same times.
        for field, span in (("queue_s", queue), ("prefill_s", prefill), ("load_s", load), ("decode_s", decode)):
            assert line[field] == pytest.approx((span.end - span.start) / 1e9, abs=0.002), field
        assert root.attributes["server.port"] == int(traced.server.url.rpartition(":")[2])
    assert origins == ["disk", "device"]
    assert traced.collector.resource["service.name"] == "traced"


async def test_a_stream_and_one_that_is_left(traced: Traced) -> None:
    body = {"prompt": "apple", "max_tokens": 8, "ignore_eos": True, "stream": True}
    endless = {**body, "max_tokens": 1500, "n": 32}  # too much to be done before anybody notices that it was left
    async with httpx.AsyncClient(base_url=traced.server.url, timeout=120) as client:
        left = {"x-request-id": "left"}
        async with client.stream("POST", "/v1/completions", json=endless, headers=left) as response:
            await anext(response.aiter_bytes())
        whole = {"x-request-id": "whole"}
        await client.post("/v1/completions", json=body, headers=whole)
    root = await traced.root("left")
    assert (root.status, root.attributes.get("error.type")) == ("ERROR", "cancelled"), root
    root = await traced.root("whole")
    assert (root.status, root.attributes["gen_ai.usage.output_tokens"]) == ("UNSET", 8)
    assert [span.name for span in traced.collector.below(root)] == ["queue", "prefill", "decode"]


async def test_lines_of_a_batch_have_spans_too(traced: Traced) -> None:
    server = traced.server
    line = {"method": "POST", "url": "/v1/chat/completions", "body": CHAT}
    lines = "".join(json.dumps({"custom_id": str(number), **line}) + "\n" for number in range(3))
    async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:
        file = (await client.post("/v1/files", files={"file": lines.encode()}, data={"purpose": "batch"})).json()
    wish = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = server.post("/v1/batches", wish).json()
    await until(lambda: server.get(f"/v1/batches/{batch['id']}").json()["status"] == "completed")

    def spans() -> list[Collected]:
        return [span for span in traced.collector.roots() if span.attributes.get("loraplex.batch.id") == batch["id"]]

    await until(lambda: len(spans()) == 3)
    assert {span.name for span in spans()} == {"chat words"}
    assert len(await traced.lines(3, batch=batch["id"])) == 3


@pytest.mark.slow
def test_the_end_sends_what_is_left(tmp_path: Path) -> None:
    with collecting() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
        with serving(["demo", "--otlp-traces-endpoint", collector.url], tmp_path / "log") as server:
            server.post("/v1/chat/completions", CHAT)
            assert collector.spans == []
        assert server.process.returncode == 0
        assert [span.name for span in collector.roots()] == ["chat words"]
