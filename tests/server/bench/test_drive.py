"""A load on an engine in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from support.checkpoints import write_adapters, write_base
from support.engines import make_engine

from loraplex_server.bench.engine.adapters import Adapters, find_adapters
from loraplex_server.bench.engine.drive import Drive
from loraplex_server.bench.load.lengths import Fixed, Uniform
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.popularity import Popularity
from loraplex_server.bench.load.summary import summarize
from loraplex_server.bench.load.workload import plan
from loraplex_server.engine.core import EngineCore

OPTIONS = LoadOptions(requests=6, concurrency=3, prompt=Fixed(9), output=Fixed(5), token_ids=(3, 60))
PLAIN = {f"plain-{number}": {"r": 2, "target_modules": ["q_proj", "down_proj"]} for number in range(3)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("bench-engine")
    base = write_base(root / "base")
    return base, write_adapters(base, root / "adapters", PLAIN)


@pytest.fixture
def core(folders: tuple[Path, Path]) -> Iterator[EngineCore]:
    engine = make_engine(folders[0])
    yield engine
    engine.check_integrity()
    engine.store.close()


@pytest.fixture
def adapters(folders: tuple[Path, Path]) -> Adapters:
    return find_adapters("base", folders[1], None)


def test_every_request_gets_its_tokens_and_no_more_run_at_once_than_asked(
    core: EngineCore, adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_flight = []
    step = core.step
    monkeypatch.setattr(core, "step", lambda: (in_flight.append(len(core.requests)), step())[1])
    options = replace(OPTIONS, popularity=Popularity("distinct"))
    traces = Drive(core, adapters.sources, Event()).run(plan(options, adapters, 0), options.at_once)
    summary = summarize(traces, options)
    assert (summary.ok, summary.output_tokens, summary.prompt_tokens, summary.short_outputs) == (6, 30, 54, 0)
    assert max(in_flight) == 3
    assert summary.times.ttft_ms is not None
    assert summary.output_tok_s > 0


def test_an_open_loop_submits_when_requests_are_due(core: EngineCore, adapters: Adapters) -> None:
    options = replace(OPTIONS, concurrency=None, rate=200.0, output=Uniform(1, 4))
    planned = plan(options, adapters, 0)
    traces = Drive(core, adapters.sources, Event()).run(planned, None)
    assert [trace.planned for trace in traces] == planned
    assert all(trace.sent >= trace.start for trace in traces)
    assert [trace.tokens for trace in traces] == [each.output_tokens for each in planned]


def test_an_answer_ends_at_an_end_token_where_it_may(core: EngineCore, adapters: Adapters) -> None:
    planned = plan(replace(OPTIONS, output=Fixed(20)), adapters, 0)
    every_token = range(core.runner.model.config.vocab_size)
    traces = Drive(core, adapters.sources, Event(), every_token).run(planned, 3)
    assert {trace.tokens for trace in traces} == {1}


def test_an_adapter_that_cannot_be_served_is_a_failed_request(
    core: EngineCore, adapters: Adapters, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    config = (folders[1] / "plain-0" / "adapter_config.json").read_text()
    (broken / "adapter_config.json").write_text(config)
    (broken / "adapter_model.safetensors").write_bytes(b"no tensors")
    found = find_adapters("base", tmp_path, None)
    options = replace(OPTIONS, popularity=Popularity("one"), base_share=0.5)
    traces = Drive(core, found.sources, Event()).run(plan(options, found, 0), 3)
    assert {trace.error for trace in traces if trace.planned.adapter is not None} == {"adapter"}
    assert all(trace.ok for trace in traces if trace.planned.adapter is None)


def test_fewer_adapters_than_asked_for_are_an_error_and_their_rank_is_known(folders: tuple[Path, Path]) -> None:
    assert find_adapters("base", folders[1], 2).rank == 2
    assert find_adapters("base", None, None).rank == 0
    with pytest.raises(ValueError, match="only 3"):
        find_adapters("base", folders[1], 4)
