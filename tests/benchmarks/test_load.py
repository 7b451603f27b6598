"""The whole generator against a server, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from stub_server import ADAPTERS, FIRST_S, GAP_S, running

from loraplex_server.bench.load import lines
from loraplex_server.bench.load.lengths import Fixed
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.popularity import Popularity
from loraplex_server.bench.load.runs import run_load, warm_up
from loraplex_server.bench.load.summary import RunSummary
from loraplex_server.bench.load.targets import Targets, TargetsError, find_targets
from loraplex_server.commands.bench_serve import bench_serve

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
QUIET = Console(file=None, quiet=True)
OPTIONS = LoadOptions(requests=4, concurrency=4, prompt=Fixed(8), output=Fixed(6), timeout_s=120.0)


async def load(url: str, options: LoadOptions = OPTIONS, base: str = "base") -> RunSummary:
    targets = Targets(url, base, ADAPTERS)
    return (await run_load(options, targets, seed=0, console=QUIET)).summary


async def test_a_wave_of_distinct_adapters_is_timed_and_counted() -> None:
    # Tokens that come while this process stands still are read at once: of many gaps a few may be lost.
    options = replace(OPTIONS, popularity=Popularity("distinct"), output=Fixed(61))
    async with running() as (stub, url):
        summary = await load(url, options)
    assert sorted(body["model"] for body in stub.bodies) == sorted(ADAPTERS)
    assert (summary.ok, summary.output_tokens, summary.prompt_tokens, summary.counted_by) == (4, 244, 32, "usage")
    assert summary.times.ttft_ms is not None
    assert summary.times.tpot_ms is not None
    assert summary.times.ttft_ms.p50 >= FIRST_S * 1e3
    assert summary.times.tpot_ms.p50 >= GAP_S * 1e3 * 0.9
    assert summary.short_outputs == 0


async def test_a_closed_loop_never_has_more_in_flight_than_asked() -> None:
    async with running() as (stub, url):
        summary = await load(url, replace(OPTIONS, requests=9, concurrency=3))
    assert (stub.peak, summary.ok) == (3, 9)


async def test_an_open_loop_sends_at_its_times_whatever_is_in_flight() -> None:
    async with running() as (stub, url):
        summary = await load(url, replace(OPTIONS, requests=20, concurrency=None, rate=400.0))
    assert summary.ok == 20
    assert stub.peak > 4
    assert summary.late_p99_ms is not None
    assert summary.steady_decode_tok_s is None


async def test_chat_answers_are_read_too() -> None:
    async with running() as (stub, url):
        summary = await load(url, replace(OPTIONS, endpoint="chat"))
    assert (summary.ok, summary.output_tokens, summary.events_per_token) == (4, 24, 1.0)
    assert stub.bodies[0]["messages"][0]["role"] == "user"


async def test_without_usage_events_are_counted_and_that_is_said() -> None:
    async with running() as (stub, url):
        stub.usage = False
        summary = await load(url)
    assert (summary.output_tokens, summary.counted_by) == (24, "events")


@pytest.mark.parametrize(
    ("model", "kind"),
    [("missing", "http 404"), ("cut", "disconnected"), ("error", "error event"), ("garbage", "malformed")],
)
async def test_each_failure_is_counted_as_its_kind(model: str, kind: str) -> None:
    async with running() as (_, url):
        summary = await load(url, base=model)
    assert (summary.ok, summary.errors) == (0, {kind: 4})


@pytest.mark.parametrize(
    ("status", "body", "errors"),
    [
        (200, 'data: {"choices": [{"text": "a"}]}\n\ndata: [DONE]\n\n', {}),
        (200, 'data: {"choices": [{"text": "a", "finish_reason": "stop"}]}\n\n', {}),
        (200, 'data: {"choices": [{"text": "a"}]}\n\n', {"truncated": 4}),
        (500, "no such luck", {"http 500": 4}),
    ],
)
async def test_an_answer_may_end_with_its_connection(status: int, body: str, errors: dict[str, int]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} X\r\nconnection: close\r\n\r\n{body}".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        summary = await load(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert (summary.ok, summary.errors) == (0 if errors else 4, errors)


async def test_a_server_that_counts_one_token_where_two_came_has_no_gap_between_them() -> None:
    async with running() as (stub, url):
        stub.counted = 1
        summary = await load(url)
    assert (summary.ok, summary.times.tpot_ms) == (4, None)


async def test_an_answer_that_stalls_times_out() -> None:
    async with running() as (_, url):
        summary = await load(url, replace(OPTIONS, requests=2, timeout_s=0.2), base="silent")
    assert summary.errors == {"timeout": 2}


async def test_a_server_that_is_not_there_is_a_connection_error() -> None:
    async with running() as (_, url):
        pass
    summary = await load(url)
    assert summary.errors == {"connect": 4}


async def test_warm_up_waves_use_the_adapters_and_none_of_the_prompts() -> None:
    async with running() as (stub, url):
        options = replace(OPTIONS, popularity=Popularity("distinct"), requests=8)
        await warm_up(options, Targets(url, "base", ADAPTERS), waves=2, seed=0, console=QUIET)
        warm = list(stub.bodies)
        await load(url, options)
    assert len(warm) == 8
    assert {body["model"] for body in warm} == set(ADAPTERS)
    run = {tuple(body["prompt"]) for body in stub.bodies[8:]}
    assert run.isdisjoint(tuple(body["prompt"]) for body in warm)


async def test_names_are_discovered_and_too_few_are_an_error() -> None:
    async with running() as (_, url):
        targets = await asyncio.to_thread(find_targets, url, at_most=3)
        with pytest.raises(TargetsError, match="only 4"):
            await asyncio.to_thread(find_targets, url, at_most=5)
    assert (targets.base, targets.adapters) == ("base", ADAPTERS[:3])


async def test_the_command_prints_a_json_line_a_run_and_the_medians(tmp_path: Path) -> None:
    out = tmp_path / "lines.jsonl"
    async with running() as (_, url):
        code, lines, table = await command(
            "--url", url, "--concurrency", "2", "--runs", "3", "--prompt", "8", "--output", "4",
            "--popularity", "uniform", "--base-share", "0.5", "--slo-ttft", "5000", "--out", str(out),
        )  # fmt: skip
    assert code == 0, table
    assert [line["kind"] for line in lines] == ["load", "run", "run", "run", "summary"]
    assert lines[-1]["output_tok_s"] == sorted(line["output_tok_s"] for line in lines[1:4])[1]
    assert lines[-1]["slo_share"] == 1.0
    assert lines[0]["options"]["popularity"]["law"] == "uniform"
    assert out.read_text().splitlines() == [json.dumps(line, separators=(",", ":")) for line in lines]
    assert "median" in table
    assert "goodput" in table


async def test_the_command_fails_where_nothing_was_answered() -> None:
    async with running() as (_, url):
        code, lines, table = await command("--url", url, "--model", "missing", "--concurrency", "2", "--warmup", "0")
    assert code == 1
    assert lines[-1]["errors"] == {"http 404": 2}
    assert "no model missing" in table


async def test_runs_that_were_whole_outlive_an_interrupt() -> None:
    async with running() as (_, url):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loraplex_server.cli", "bench", "serve", "--url", url, "--concurrency", "1",
            "--output", "4", "--runs", "1000",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            first = [json.loads(await process.stdout.readline())["kind"] for _ in range(2)]
            process.send_signal(signal.SIGINT)
            rest, table = await asyncio.wait_for(process.communicate(), 120)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    kinds = [*first, *(json.loads(line)["kind"] for line in rest.splitlines())]
    assert process.returncode == 130
    assert (kinds[:2], kinds[-1]) == (["load", "run"], "summary")
    assert b"run 1" in table


@pytest.mark.parametrize("where", ["--out", "--plot"])
async def test_where_nothing_can_be_written_nothing_is_measured(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lines, "pyplot", lambda: None)
    async with running() as (stub, url):
        arguments = ["--url", url, "--concurrency", "2", where, str(tmp_path / "missing" / "x.png")]
        assert await asyncio.to_thread(bench_serve, arguments) == 2
    assert stub.bodies == []
    assert "No such file or directory" in capsys.readouterr().err


async def test_a_full_disk_takes_nothing_but_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    async with running() as (_, url):
        arguments = ["--url", url, "--concurrency", "2", "--out", "/dev/full", "--runs", "2"]
        assert await asyncio.to_thread(bench_serve, arguments) == 2
    said = capsys.readouterr()
    assert [json.loads(line)["kind"] for line in said.out.splitlines()] == ["load", "run", "run", "summary"]
    assert "/dev/full: No space left on device" in said.err


async def test_the_command_names_a_bad_setting() -> None:
    code, lines, table = await command("--url", "127.0.0.1:8000")
    assert (code, lines) == (2, [])
    assert "--url" in table


async def command(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(BENCHMARKS / "load.py"), *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, table = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in out.splitlines()], table.decode()
