"""The runs as a picture."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loraplex_server.bench.load.trace import Trace

BINS = 60


class PlotError(Exception):
    """matplotlib is missing."""


def pyplot() -> Any:
    """matplotlib's pyplot, drawing to files.

    Raises:
        PlotError: matplotlib is not installed; the message says how to get it.
    """
    try:
        # By name: it is no dependency, and the type checker must not need it either.
        importlib.import_module("matplotlib").use("Agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise PlotError(
            f"--plot needs matplotlib, which is not installed ({error}): pip install 'loraplex[bench]'"
        ) from error


def plot_runs(path: Path, title: str, runs: Sequence[tuple[str, Sequence[Trace]]]) -> None:
    """Time to first token and gaps between tokens as distributions, and tokens a second over time, to a PNG.

    Raises:
        PlotError: matplotlib is not installed.
    """
    plt = pyplot()
    figure, (first, gaps, rate) = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    for label, traces in runs:
        good = [trace for trace in traces if trace.ok]
        if not good:
            continue
        _distribution(first, [trace.ttft * 1e3 for trace in good], label)
        _distribution(gaps, [gap * 1e3 for trace in good for gap in trace.gaps], label)
        middles, tokens = rate_over_time(good)
        rate.plot(middles, tokens, label=label)
    for axes, name, unit in ((first, "time to first token", "ms"), (gaps, "between tokens", "ms")):
        axes.set(title=name, xlabel=unit, ylabel="share of them", ylim=(0, 1.02))
    rate.set(title="output", xlabel="s", ylabel="tokens/s")
    rate.set_ylim(bottom=0)
    for axes in (first, gaps, rate):
        axes.grid(alpha=0.3)
    rate.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def rate_over_time(traces: Sequence[Trace], bins: int = BINS) -> tuple[list[float], list[float]]:
    """The middles of equal slices of the run, in seconds from its start, and the tokens a second in each."""
    start = min(trace.start for trace in traces)
    when = np.asarray([moment - start for trace in traces for moment in trace.times])
    tokens = np.asarray([count for trace in traces for count in trace.counts])
    summed, edges = np.histogram(when, bins=bins, range=(0.0, float(when.max())), weights=tokens)
    width = edges[1] - edges[0]
    return [float(edge + width / 2) for edge in edges[:-1]], [float(count / width) for count in summed]


def _distribution(axes: Any, values: Sequence[float], label: str) -> None:
    if values:
        axes.step(np.sort(values), np.arange(1, len(values) + 1) / len(values), where="post", label=label)
