"""Steps that are replayed give what steps that are run give; the replay is a call on the same static buffers here."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import prompt, write_adapter
from support.engines import Output, collect, make_engine, request, run, step
from support.static_steps import CallAgain, with_graphs

from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.graphs.capture import NoRoomError
from loraplex_server.engine.graphs.key import GraphKey
from loraplex_server.engine.messages import GenerateRequest

TOLERANCE = 1e-4


def mixed(root: Path, count: int = 7) -> list[GenerateRequest]:
    """Requests of all lengths, so that steps of all sizes come up, with rows on the base between the others."""
    names: list[list[Any]] = [
        [],
        ["plain-r4"],
        ["dora"],
        [],
        ["plain-r32"],
        ["plain-r4"],
        [("plain-r4", 0.5), "rslora"],
    ]
    return [
        request(f"r{place}", prompt(3 + place, place), names[place % len(names)], root=root, max_tokens=4 + place)
        for place in range(count)
    ]


def same(outputs: dict[tuple[str, int], Output], expected: dict[tuple[str, int], Output]) -> None:
    assert outputs.keys() == expected.keys()
    for name, output in outputs.items():
        assert output.tokens == expected[name].tokens
        assert output.logprobs == pytest.approx(expected[name].logprobs, abs=TOLERANCE)


def pair(base: Path, **options: Any) -> tuple[EngineCore, EngineCore, CallAgain]:
    """An engine that runs its steps, and one that replays them."""
    runs, replays = make_engine(base, **options), make_engine(base, **options)
    return runs, replays, with_graphs(replays)


@pytest.mark.parametrize("overlap", [False, True], ids=["in turn", "overlapped"])
@pytest.mark.parametrize("seqs", [3, 8])
def test_replayed_steps_answer_as_steps_that_are_run(base: Path, adapters: Path, overlap: bool, seqs: int) -> None:
    runs, replays, capture = pair(base, overlap=overlap, max_num_seqs=seqs)
    for _ in range(3):  # the second time all adapters are there, and the third all graphs
        expected = run(runs, mixed(adapters))
        captured = capture.captures
        same(run(replays, mixed(adapters)), expected)
    assert capture.captures == captured
    assert capture.replays > capture.captures
    runs.store.close()
    replays.store.close()


def test_padding_leaves_no_trace_in_the_cache(base: Path) -> None:
    runs, replays, capture = pair(base, max_num_seqs=8)
    for core in (runs, replays):
        for layer in core.runner.cache:
            layer.k.fill_(7.0)
            layer.v.fill_(7.0)
        run(core, [request(f"r{place}", prompt(5, place), max_tokens=6) for place in range(5)])
    assert capture.replays
    for layer, expected in zip(replays.runner.cache, runs.runner.cache, strict=True):
        torch.testing.assert_close(layer.k, expected.k, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(layer.v, expected.v, atol=1e-5, rtol=1e-4)
    runs.store.close()
    replays.store.close()


def test_a_step_takes_the_graph_of_what_its_adapters_are(base: Path, adapters: Path) -> None:
    core = make_engine(base, max_num_seqs=8)
    with_graphs(core)
    graphs = core.runner.graphs
    seen: list[GraphKey | None] = []
    key_of = graphs.key_of
    graphs.key_of = lambda rows, lora: seen.append(key_of(rows, lora)) or seen[-1]  # type: ignore[method-assign]
    for names, count, expected in [
        ([], 3, GraphKey(4)),
        (["plain-r4"], 3, GraphKey(4, 16)),
        (["plain-r32"], 1, GraphKey(1, 64)),
        (["dora"], 2, GraphKey(2, 16, True)),
        (["plain-r4", "rslora", "plain-r32"], 1, GraphKey(4, 64)),  # three uses in one row
    ]:
        seen.clear()
        run(core, [request(f"r{one}", prompt(4, one), names, root=adapters, n=1) for one in range(count)])
        assert seen[-1] is not None
        assert expected in seen
    core.store.close()


def test_what_no_graph_serves_is_run(base: Path, adapters: Path, tmp_path: Path) -> None:
    core = make_engine(base, max_num_seqs=2)
    capture = with_graphs(core)
    run(core, [request("prefill", prompt(9, 1), max_tokens=1)])
    assert capture.replays == 0
    mixture = ["plain-r4", "rslora", "plain-r32"]  # of more uses than the largest graph has
    run(core, [request("mixture", prompt(9, 1), mixture, root=adapters, max_tokens=4)])
    assert capture.replays == 0
    core.store.close()


def test_a_table_that_grew_is_captured_anew_and_only_where_it_is_read(base: Path, adapters: Path) -> None:
    runs, replays, capture = pair(base, max_num_seqs=8)
    expected = run(runs, mixed(adapters))
    run(replays, mixed(adapters))
    before = capture.captures
    keys = dict(replays.runner.graphs.cache._graphs)
    replays.runner.table.grow(2 * replays.runner.table.slots)
    replays.store._seating._free += range(64, 128)
    same(run(replays, mixed(adapters)), expected)
    now = replays.runner.graphs.cache._graphs
    assert capture.captures > before
    assert all((now[key] is keys[key]) == (key.rank == 0) for key in keys if key in now)
    runs.store.close()
    replays.store.close()


def test_warming_captures_what_steps_of_plain_adapters_need(base: Path, adapters: Path) -> None:
    core = make_engine(base, max_num_seqs=8)
    capture = with_graphs(core)
    core.runner.graphs.warm()
    assert capture.captures == 2 * len((1, 2, 4, 8))
    outputs: dict[tuple[str, int], Output] = defaultdict(Output)
    for place in range(6):
        names = ["plain-r4"] if place % 2 else []
        collect(core.submit(request(f"r{place}", prompt(4, place), names, root=adapters)), outputs)
    while core.has_work:
        collect(step(core), outputs)
    assert capture.captures == 2 * len((1, 2, 4, 8))
    assert capture.replays > 0
    core.store.close()


def left(core: EngineCore) -> dict[str, int]:
    """Steps that were not replayed since the last call, by reason."""
    counted = core.stats().replays
    core.forget_history()
    return {reason: number for reason, number in counted.run_total.items() if reason != "prompt"}


def test_steps_are_counted_as_replayed_or_by_why_they_were_not(
    base: Path, adapters: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write_adapter(base, tmp_path / "terms", r=4, target_modules=["q_proj"], modules_to_save=["norm"])
    moved = {name: tensor + 0.5 for name, tensor in load_file(file / "adapter_model.safetensors").items()}
    save_file(moved, file / "adapter_model.safetensors")
    write_adapter(base, tmp_path / "r300", r=300, target_modules=["q_proj"])
    core = make_engine(base, max_num_seqs=2)
    capture = with_graphs(core)
    run(core, [request("plain", prompt(5, 0), max_tokens=6)])
    counted = core.stats().replays
    assert counted.replayed_total == capture.replays == 5
    assert counted.run_total == {"prompt": 1}
    core.forget_history()
    assert core.stats().replays.replayed_total == 0
    for reason, names, root in [
        ("terms", ["terms"], tmp_path),
        ("rank", ["r300"], tmp_path),
        ("adapters", ["plain-r4", "rslora", "plain-r32"], adapters),
    ]:
        for _ in range(2):  # the log says it once
            run(core, [request(reason, prompt(5, 0), names, root=root, max_tokens=4)])
        assert left(core) == {reason: 6}
    said = [record.getMessage() for record in caplog.records if "not replayed" in record.getMessage()]
    assert len(said) == 3
    assert "300, above 256" in said[1]
    core.store.close()


def test_a_device_without_room_for_a_graph_runs_the_step_and_says_so_once(
    base: Path, adapters: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs, replays, capture = pair(base, max_num_seqs=8)
    replays.runner.graphs.warm()
    warm = capture.captures

    def full(_: Any) -> Any:
        raise NoRoomError("3 MiB of the GPU are free")

    monkeypatch.setattr(capture, "capture", full)
    for _ in range(2):
        same(run(replays, mixed(adapters)), run(runs, mixed(adapters)))
    assert capture.captures == warm
    assert capture.replays
    assert left(replays)["room"]
    said = [record.getMessage() for record in caplog.records if "no room" in record.getMessage()]
    assert len(said) == 1
    assert "3 MiB" in said[0]
    runs.store.close()
    replays.store.close()
