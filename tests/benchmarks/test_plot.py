from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from loraplex_server.bench.load.plot import plot_runs
from loraplex_server.bench.load.trace import Trace
from loraplex_server.bench.load.workload import Planned
from loraplex_server.commands.bench_serve import bench_serve


def test_without_matplotlib_it_is_named_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    # Nothing listens there: an attempt to send would say so instead.
    assert bench_serve(["--url", "http://127.0.0.1:1", "--plot", "x.png"]) == 2
    assert "loraplex[bench]" in capsys.readouterr().err


def test_a_plot_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="--plot is optional, and matplotlib is not installed")
    times = [0.1 * number for number in range(1, 30)]
    trace = Trace(Planned("m", None, [], 29, None, b""), 0.0, 0.0, times, [1.0] * 29, times[-1])
    plot_runs(tmp_path / "x.png", "title", [("run 1", [trace, trace]), ("run 2", [trace])])
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
