"""The whole comparison, with a stub in the server's place."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import adapter_tax
import psutil
import pytest
from serving.about import about, commit, portable
from serving.comparison import compare
from serving.inputs import Inputs
from serving.launch import LORAPLEX, serve_command
from serving.process import ROOT, ServerError, free_port, running
from serving.tax import add_bounds
from serving.usage import peak_rss_mb, watched
from synthetic.named import named_shape

from loraplex_server.bench.limits.bound import Served
from loraplex_server.bench.limits.formats import FORMATS
from loraplex_server.bench.limits.rates import Rates

STUB = f"{shlex.quote(sys.executable)} {shlex.quote(str(Path(__file__).with_name('stub_server.py')))}"
SMALL = ["--concurrency", "3", "--prompt", "8", "--output", "4", "--token-ids", "1:100"]


def run(mode: dict[str, Any]) -> dict[str, Any]:
    return {"ok": 1, "requests": 1, "errors": {}, **mode}


def test_a_command_measures_each_mode_and_saves_what_and_where(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path), "--server", STUB + " --port {port}", "--no-roofline", "--runs", "2", *SMALL]
    assert adapter_tax.main([*arguments, "--results", str(tmp_path / "results")]) == 0
    shown = capfd.readouterr().err
    assert all(mode in shown for mode in ("base", "one", "distinct"))
    (path,) = (tmp_path / "results").iterdir()
    saved = json.loads(path.read_text())
    assert set(saved["modes"]) == {"base", "one", "distinct"}
    for mode in saved["modes"].values():
        assert [each["ok"] for each in mode["runs"]] == [3, 3]
        assert mode["median"]["output_tokens"] == 12
        assert mode["runs"][0]["usage"]["server"] >= 0
    assert saved["modes"]["base"]["of_base"]["output_tok_s"] == 1.0
    assert saved["about"]["machine"]["cores"] >= 1
    assert saved["command"].startswith(shlex.join(portable(shlex.split(STUB))) + " --port ")
    assert str(ROOT) not in saved["command"]
    (peak,) = saved["server_peak_rss_mb"].values()
    assert peak > 5


def test_a_server_that_does_not_start_is_told_with_its_last_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = f"{shlex.quote(sys.executable)} -c \"raise SystemExit('no such weights')\""
    assert adapter_tax.main([str(tmp_path), "--server", broken, "--no-roofline", *SMALL]) == 2
    assert "no such weights" in capfd.readouterr().err


def test_a_server_is_gone_when_its_block_ends(tmp_path: Path) -> None:
    port = free_port()
    with running([*shlex.split(STUB), "--port", str(port)], port, tmp_path / "log") as server:
        assert server.pid is not None
        assert psutil.pid_exists(server.pid)
    assert not psutil.pid_exists(server.pid)


def test_a_server_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    idle = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(ServerError, match="was not ready"), running(idle, free_port(), tmp_path / "log", 0.5):
        raise AssertionError("unreachable")


def test_settings_that_contradict_each_other_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert adapter_tax.main(["MODEL", "--url", "http://127.0.0.1:1"]) == 2
    assert "--url" in capfd.readouterr().err
    assert adapter_tax.main(["--adapters", "DIR"]) == 2
    assert "--adapters" in capfd.readouterr().err


def test_the_command_line_is_the_documented_one() -> None:
    command = serve_command(LORAPLEX, Path("/m o"), Path("/a"), "bfloat16", 32, 8123, ["--threads", "2"])
    assert command[1:] == [
        *("-m", "loraplex_server.cli", "serve", "/m o", "--adapters", "/a", "--port", "8123", "--dtype", "bfloat16"),
        *("--max-num-seqs", "32", "--max-model-len", "2048", "--no-enable-prefix-caching", "--no-request-log"),
        *("--threads", "2"),
    ]
    with pytest.raises(ValueError, match="gpu"):
        serve_command("x {gpu}", Path("m"), Path("a"), "int8", 1, 1)


def test_shares_are_of_the_base_modes_medians() -> None:
    compared = compare(
        {
            "base": [run({"output_tok_s": rate, "steady_decode_tok_s": 2 * rate}) for rate in (90, 100, 120)],
            "distinct": [run({"output_tok_s": rate, "steady_decode_tok_s": None}) for rate in (50, 40, 60)],
        }
    )
    assert compared["distinct"]["of_base"] == {"output_tok_s": 0.5, "steady_decode_tok_s": None}
    assert compared["base"]["spread"]["output_tok_s"] == 0.3


def test_each_mode_is_held_against_the_bound_of_its_own_adapters() -> None:
    served = Served(named_shape("qwen2.5-0.5b"), Rates(64.0, {"float32": 1, "bfloat16": 100.0}), FORMATS["bfloat16"])
    modes: dict[str, Any] = {
        mode: {"median": {"steady_decode_tok_s": rate}} for mode, rate in (("base", 100.0), ("distinct", None))
    }
    add_bounds(modes, served, concurrency=8, prompt=128, output=64)
    base = served.decode(8, 160, 0).ms
    assert modes["base"]["bound_ms"] == pytest.approx(base, abs=1e-3)
    assert modes["base"]["of_bound"] == pytest.approx(base / 80.0, abs=1e-4)
    assert modes["distinct"]["bound_ms"] == pytest.approx(served.decode(8, 160, 8).ms, abs=1e-3)
    assert modes["distinct"]["of_bound"] is None


def test_the_processor_time_of_this_process_is_its_own() -> None:
    with watched(os.getpid()) as usage:
        total = sum(number * number for number in range(3_000_000))
    assert total > 0
    assert usage.client > 0
    assert usage.server == pytest.approx(usage.client, rel=0.3)
    assert peak_rss_mb(os.getpid())


def test_what_was_measured_is_named() -> None:
    found = about()
    assert found["versions"]["torch"] != "not installed"
    assert found["machine"]["memory_gb"] > 0
    assert commit(Path("/")) is None


def test_a_command_does_not_tell_where_things_lie() -> None:
    told = [f"{ROOT}/.venv/bin/python", "serve", "/data/qwen", "--out=/tmp/x.json", "meta-llama/Llama-3.2-1B", "/"]
    kept = [".venv/bin/python", "serve", "qwen", "--out=x.json", "meta-llama/Llama-3.2-1B", "/"]
    assert portable(told) == kept


def test_the_rank_is_that_of_the_first_adapter(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "adapter_config.json").write_text('{"r": 8}')
    assert Inputs(tmp_path, tmp_path).rank == 8
    with pytest.raises(ValueError, match="no adapter"):
        _ = Inputs(tmp_path, tmp_path / "b").rank
