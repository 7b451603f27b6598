"""Tracing on, off, and with a collector that is not there."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from support.api import Api, until
from support.collector import Collector, collecting
from support.servers import held_port

from loraplex_server.api.process.start_error import StartError
from loraplex_server.tracing.open import open_tracing
from loraplex_server.tracing.provider import FLUSH_S, LAST_ATTEMPT_S

NO_OTEL = """
import sys
from loraplex_server.torch_free import hide_torch
hide_torch()
import loraplex_server.api.process.serve
from loraplex_server.tracing.open import open_tracing
with open_tracing(None) as tracing:
    print(tracing)
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter", "google."))])
"""

MISSING = """
import sys
sys.modules["opentelemetry.sdk"] = None  # Python's own way to say that a module is not to be found
from loraplex_server.cli import main
sys.exit(main(["serve", sys.argv[1], "--port", "0", "--otlp-traces-endpoint", "http://127.0.0.1:9/v1/traces"]))
"""


def python(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    return subprocess.run(command, text=True, env=env, capture_output=True, check=False, timeout=120)


def test_who_does_without_loads_nothing_of_it() -> None:
    run = python(NO_OTEL)
    assert (run.stdout, run.stderr) == ("None\n[]\n", "")


def test_without_the_extra_the_server_says_what_to_install(tmp_path: object) -> None:
    run = python(MISSING, str(tmp_path))
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(
        "loraplex serve: --otlp-traces-endpoint needs OpenTelemetry: pip install 'loraplex[tracing]' (opentelemetry.sdk"
    )


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"])
def test_another_protocol_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "grpc")
    with pytest.raises(StartError, match="http/protobuf"), open_tracing("http://127.0.0.1:9/v1/traces"):
        pass


async def test_the_standard_variables_count(
    monkeypatch: pytest.MonkeyPatch, collector: Collector, make_api: Callable[..., Api], otel_logger: None
) -> None:
    for name, value in {
        "OTEL_SERVICE_NAME": "my-llm",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod,service.version=7",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-team=abc",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "gzip",
    }.items():
        monkeypatch.setenv(name, value)
    with open_tracing(collector.url) as tracing:
        await make_api(tracing=tracing).complete({"prompt": "x"})
    assert len(collector.roots()) == 1  # closing sent what was queued
    (sent,) = collector.requests
    assert (sent["path"], sent["x-team"], sent["content-encoding"]) == ("/v1/traces", "abc", "gzip")
    resource = collector.resource
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("my-llm", "prod")
    assert resource["service.version"] == "7"
    assert len(resource["service.instance.id"]) == 36


async def asking_until(api: Api, condition: Callable[[], Any]) -> None:
    """A span that finds the queue full is lost, so that one request might be in vain."""

    async def ask() -> None:
        while True:
            assert (await api.complete({"prompt": "x"})).status_code == 200
            await asyncio.sleep(0.02)

    asking = asyncio.create_task(ask())
    try:
        await until(lambda: condition() or asking.done())
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert asking.cancelled()


async def test_a_collector_that_is_away_disturbs_nobody_and_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch,
    make_api: Callable[..., Api],
    caplog: pytest.LogCaptureFixture,
    otel_logger: None,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    caplog.set_level(logging.INFO)
    with collecting() as collector:
        collector.status = 400  # which no exporter sends again
        with open_tracing(collector.url) as tracing:
            api = make_api(tracing=tracing)
            for _ in range(20):
                assert (await api.complete({"prompt": "x"})).status_code == 200
            await asking_until(api, lambda: len(collector.requests) > 2)
            lines = [record.getMessage() for record in caplog.records if "traces" in record.getMessage()]
            (line,) = lines
            assert line.startswith(f"traces cannot be sent to {collector.url}: ")
            assert "400" in line
            collector.status = 200
            await asking_until(api, lambda: any("reach" in record.getMessage() for record in caplog.records))
            collector.spans.clear()
            await asking_until(api, collector.roots)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1


async def test_the_end_waits_for_nobody_for_long(
    monkeypatch: pytest.MonkeyPatch, make_api: Callable[..., Api], otel_logger: None
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1000")  # without us it would try for half a minute
    with held_port() as port, open_tracing(f"http://127.0.0.1:{port}/v1/traces") as tracing:  # where nobody listens
        assert (await make_api(tracing=tracing).complete({"prompt": "x"})).status_code == 200
        began = time.monotonic()
    assert time.monotonic() - began < FLUSH_S + LAST_ATTEMPT_S + 15.0


async def test_a_disabled_sdk_sends_nothing(
    monkeypatch: pytest.MonkeyPatch, collector: Collector, make_api: Callable[..., Api], otel_logger: None
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with open_tracing(collector.url) as tracing:
        assert (await make_api(tracing=tracing).complete({"prompt": "x"})).status_code == 200
    assert collector.requests == []


def test_asking_for_content_is_answered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, otel_logger: None
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    with open_tracing("http://127.0.0.1:9/v1/traces"):
        assert "spans never have prompts and answers" in caplog.text
