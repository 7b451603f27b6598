"""Linears of the base, for steps of few rows and for long prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from gpu import linear_ways
from gpu.clock import Time
from gpu.linear_ways import LinearWay
from gpu.outcome import Outcome
from gpu.part import Part, Row, Setting, record
from gpu.shapes import SHAPES, Shape
from gpu.tables import Column

LONG = (256, 512, 4096)  # rows: where products take longer than the weight's bytes

Case = tuple[Shape, str]


def cases(setting: Setting) -> Iterator[Case]:
    """Each form of each weight."""
    for shape in SHAPES[setting.shape]:
        for name in linear_ways.names(setting.device):
            yield shape, name


def label(case: Case) -> Sequence[object]:
    """As in the table."""
    return case[0].name, case[1]


def columns(counts: Sequence[int], share: str) -> Sequence[Column]:
    """Of a table for these numbers of rows."""
    heads = (Column("linears", 7), Column("weight", 16), Column("MiB", 4))
    return (*heads, *(Column(f"{rows} rows: us, {share}", 14) for rows in counts))


def measure(setting: Setting, case: Case, counts: Sequence[int], *, products: bool) -> Row:
    """One form at each number of rows, each checked: other numbers are other kernels."""
    (shape, name), dtype = case, setting.dtype
    generator = torch.Generator(setting.device).manual_seed(3)
    wide = torch.randn(shape.out_features, shape.in_features, generator=generator, device=setting.device)
    way = linear_ways.linear_way(name, (wide / shape.in_features**0.5).to(dtype))
    del wide
    x = torch.randn(max(counts), shape.in_features, generator=generator, device=setting.device).to(dtype)
    ways = [way, *(way.again() for _ in range(setting.clock.sets(way.nbytes) - 1))]
    exact = way.weight().double()
    outcomes = setting.timed({str(rows): partial(_time, setting, ways, x[:rows], exact) for rows in counts})

    def cell(rows: int, outcome: Outcome) -> str:
        if not isinstance(outcome, Time):
            return str(outcome)
        if products:
            operations = 2 * rows * shape.in_features * shape.out_features
            return f"{outcome} {operations / outcome.seconds / 1e12:.0f}"
        nbytes = way.nbytes + rows * (shape.in_features + shape.out_features) * dtype.itemsize
        return f"{outcome} {setting.of_copy(nbytes, outcome)}"

    cells = [cell(rows, outcomes[str(rows)]) for rows in counts]
    kept = {"linears": shape.name, "way": name, "nbytes": way.nbytes, "sets": len(ways)}
    return Row((*label(case), way.nbytes >> 20, *cells), {**kept, **record(outcomes)})


def _time(setting: Setting, ways: Sequence[LinearWay], x: Tensor, exact: Tensor) -> Time:
    linear_ways.check(ways[0], x, exact)
    return setting.clock.time(*(partial(way.call, x) for way in ways))


LINEAR = Part(
    "Linears of the base",
    lambda setting: columns(setting.rows, "of copy"),
    cases,
    label,
    lambda setting, case: measure(setting, case, setting.rows, products=False),
)
LONG_LINEAR = Part(
    "Linears of the base, long prompts",
    lambda setting: columns(LONG, "TFLOP/s"),
    cases,
    label,
    lambda setting, case: measure(setting, case, LONG, products=True),
)
