"""The comparison of servers: its rows, its file, its table, and the whole command with a stub in the servers' place."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import compare
import pytest
from contest.bounds import decode_of_bound, of_bound, served
from contest.contender import Contender, ContestError, Probe, Start
from contest.contenders import NAMES, PEERS, contender
from contest.estimate import seconds
from contest.loraplex import Loraplex
from contest.record import Record
from contest.report import best_peer, markdown
from contest.rows import ROWS, Row
from peers.llama_server import LLAMA_Q4
from rich.console import Console
from serving.inputs import Inputs
from serving.process import Running
from synthetic.named import named_shape
from synthetic.shapes import SHAPES

from loraplex_server.bench.limits.formats import FORMATS, Format

QWEN = named_shape("qwen2.5-0.5b")
RATES = {"read_gb_s": 64.0, "tflops": {"float32": 0.2, "bfloat16": 0.8, "int8": 1.4}}
ABOUT = {"commit": "c1", "machine": {"cpu": "a CPU", "cores": 2}}
SETTINGS = {"shape": "qwen2.5-0.5b", "rank": 16, "runs": 3, "seed": 0}
STUB = Path(__file__).with_name("stub_server.py")


def result(figure: float, steady: float | None = None) -> dict[str, Any]:
    return {
        "figure": figure,
        "steady_decode_tok_s": steady,
        "spread": 0.05,
        "others_cores": 0.01,
        "peak_rss_mb": {"server 1": 100.0},
    }


@dataclass(frozen=True)
class Stub:
    """A contender that answers at once, in a process of its own."""

    name: str = "vllm"
    label: str = "a stub"
    peer: bool = True
    form: Format = FORMATS["bfloat16"]
    head: Format = FORMATS["bfloat16"]
    extra: Mapping[str, Any] = field(default_factory=dict)
    names_adapters: bool = True
    probe: Probe = field(default_factory=Probe)
    deaf: bool = False

    def versions(self) -> Mapping[str, str]:
        return {"stub": "1"}

    def prepare(self, inputs: Inputs, console: Console) -> None: ...

    def starts(self, inputs: Inputs, rows: Mapping[str, Row], port: int) -> Sequence[Start]:
        deaf = ["--deaf"] if self.deaf else []
        return [
            Start([sys.executable, str(STUB), "--adapters", "32", *deaf, "--port", str(port)], "/health", list(rows))
        ]

    def started(self, server: Running) -> None: ...


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    (tmp_path / "config.json").write_text(json.dumps(SHAPES["tiny"]))
    (tmp_path / "adapters" / "a").mkdir(parents=True)
    (tmp_path / "adapters" / "a" / "adapter_config.json").write_text('{"r": 16}')
    return ["--model", str(tmp_path), "--out", str(tmp_path / "out.json"), "--quick", "--scale", "0.02"]


def test_a_broken_run_goes_on_with_the_rows_that_are_missing(
    inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PEERS, "vllm", Stub())
    chosen = ["--servers", "vllm", *inputs]
    assert compare.main([*chosen, "--rows", "one-1"]) == 0
    before = json.loads((tmp_path / "out.json").read_text())["servers"]["vllm"]["rows"]
    assert compare.main([*chosen, "--rows", "one-1", "distinct-8", "ttft-512"]) == 0
    after = json.loads((tmp_path / "out.json").read_text())["servers"]["vllm"]["rows"]
    assert set(after) == {"one-1", "distinct-8", "ttft-512"}
    assert after["one-1"] == before["one-1"]
    assert len({tuple(ids) for ids in after["distinct-8"]["answers"].values()}) == 3
    assert after["distinct-8"]["figure"] > after["one-1"]["figure"] > 0
    assert "8 requests, 8 adapters" in capsys.readouterr().out
    assert compare.main([*chosen, "--seed", "3"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_a_server_that_ignores_adapters_is_not_measured(
    inputs: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PEERS, "vllm", Stub(deaf=True))
    assert compare.main(["--servers", "vllm", *inputs, "--rows", "one-1"]) == 2
    assert "answers alike with and without adapters" in capsys.readouterr().err


def test_our_rows_of_another_commit_and_a_peers_of_another_version_are_measured_again(tmp_path: Path) -> None:
    path, ours, peer = tmp_path / "r.json", Loraplex("int8"), Stub()
    record = Record(path, SETTINGS, ABOUT)
    for each in (ours, peer):
        record.add(each, "one-1", result(1.0), RATES)
    again = Record(path, SETTINGS, {**ABOUT, "commit": "c2"})
    assert (again.finished(ours, "one-1"), again.finished(peer, "one-1")) == (False, True)
    assert Record(path, SETTINGS, ABOUT).finished(ours, "one-1")
    assert not Record(path, SETTINGS, ABOUT, fresh=True).finished(peer, "one-1")
    assert not Record(path, SETTINGS, ABOUT).finished(peer, "base-1")
    path.write_text("{}")
    with pytest.raises(ContestError, match="no results file"):
        Record(path, SETTINGS, ABOUT)


def test_the_table_has_ratios_to_the_best_peer_and_shares_of_the_bound(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.json", SETTINGS, ABOUT)
    for each, rate, ttft in ((Stub(), 20.0, 900.0), (LLAMA_Q4, 40.0, 1500.0), (Loraplex("bfloat16"), 50.0, 600.0)):
        record.add(each, "base-1", result(rate, rate * 1.1), RATES)
        record.add(each, "ttft-512", result(ttft), RATES)
    servers = record.content["servers"]
    assert (best_peer(servers, "base-1", "figure"), best_peer(servers, "ttft-512", "figure")) == (40.0, 900.0)
    shown = markdown(record.content, QWEN, 16)
    own, row = servers["loraplex-bf16"], servers["loraplex-bf16"]["rows"]["base-1"]
    limit = served(QWEN, own, row, 16)
    share = of_bound(ROWS["base-1"], row, limit)
    assert share == pytest.approx(50.0 * limit.wave_s(1, 128, 64, 0) / 64)
    assert f"**50.0** (1.25 × best peer, {share:.0%} of bound)" in shown
    assert "**600.0** (1.50 × best peer" in shown
    assert decode_of_bound(ROWS["base-1"], row, limit) == pytest.approx(55.0 * limit.decode(1, 160, 0).ms / 1e3)


def test_each_row_asks_what_its_title_says() -> None:
    assert [row.distinct for row in ROWS.values()] == [0, 1, 8, 0, 1, 32, 1]
    assert [row.tokens for row in ROWS.values()] == [64, 64, 512, 2048, 2048, 2048, 12]
    row = ROWS["ttft-512"]
    assert row.options((1, 9), {}).prompt.draw(1, None) == [512]  # type: ignore[arg-type]
    assert (row.better(500.0, 1000.0), ROWS["base-1"].better(500.0, 1000.0)) == (2.0, 0.5)


def test_llama_cpp_has_as_many_slots_as_requests_and_a_peer_none_of_our_path(tmp_path: Path) -> None:
    inputs = Inputs(tmp_path, tmp_path)
    starts = LLAMA_Q4.starts(inputs, {name: ROWS[name] for name in ("one-1", "base-32", "distinct-8")}, 1)
    assert [list(start.rows) for start in starts] == [["one-1", "distinct-8"], ["base-32"]]
    assert [start.command[start.command.index("-np") + 1] for start in starts] == ["8", "32"]
    assert all(start.environment is not None for start in starts)
    (ours,) = Loraplex("int4", ("--threads", "2")).starts(inputs, ROWS, 1)
    assert shlex.join(ours.command).endswith("--threads 2")
    assert "--no-enable-prefix-caching" in ours.command


def test_a_guess_is_made_for_every_server_and_grows_with_the_model() -> None:
    for each in (contender(name) for name in NAMES):
        short = seconds(each, ["base-1"], 1, QWEN)
        assert (
            0 < short < seconds(each, ["base-1"], 3, QWEN) < seconds(each, ["base-1"], 3, named_shape("llama-3.2-1b"))
        )
        assert seconds(each, [], 3, QWEN) == 0


def test_a_picture_has_a_panel_for_each_row(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="--plot is optional, and matplotlib is not installed")
    from contest.chart import draw

    record = Record(tmp_path / "r.json", SETTINGS, ABOUT)
    contenders: list[Contender] = [Stub(), Loraplex("int8"), Loraplex("int4")]
    for each in contenders:
        for name in list(ROWS)[:5]:
            record.add(each, name, result(10.0), RATES)
    draw(tmp_path / "x.png", record.content)
    picture = (tmp_path / "x.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 60_000
