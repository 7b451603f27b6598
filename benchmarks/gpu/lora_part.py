"""Low-rank updates: one kernel's call for all linears that share an input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor

from gpu import lora_ways
from gpu.clock import Time
from gpu.lora_case import LoraCase, lora_case
from gpu.part import Part, Row, Setting, record
from gpu.shapes import SHAPES, Shape
from gpu.tables import Column

MIXED = "8..64"
RANKS = {"16": (16,), MIXED: (8, 16, 32, 64)}
WAYS = ("ours", "one launch", "two launches", "torch loop", "gathered bmm", "PEFT")


class Case(NamedTuple):
    """What a row of the table is about."""

    shape: Shape
    rows: int
    popularity: str
    ranks: str
    int8: bool


def cases(setting: Setting) -> Iterator[Case]:
    """Most rows first come last, so that a run that is cut off has the small ones of each shape."""
    most = max(setting.rows)
    for shape in SHAPES[setting.shape]:
        for count in setting.rows:
            for popularity in setting.popularity if count > 1 else ("identical",):
                yield Case(shape, count, popularity, "16", False)
        yield Case(shape, most, "distinct", MIXED, False)
        yield Case(shape, most, "distinct", "16", True)


def columns(setting: Setting) -> Sequence[Column]:
    """Cells that may say why there is no time have room for it."""
    return (
        *(Column("linears", 7), Column("rows"), Column("popularity"), Column("ranks"), Column("form")),
        *(Column("adapters"), Column("KiB", 6), *(Column(way, 8) for way in WAYS), Column("of copy")),
    )


def label(case: Case) -> Sequence[object]:
    """As in the table."""
    return case.shape.name, case.rows, case.popularity, case.ranks, "int8" if case.int8 else ""


def measure(setting: Setting, case: Case) -> Row:
    """Each way that there is."""
    built = lora_case(
        case.shape, case.rows, case.popularity, RANKS[case.ranks], setting.dtype, setting.device, int8=case.int8
    )
    expected = built.expected()
    copies = built.repeated(setting.clock.sets(built.nbytes))
    builders = lora_ways.builders(built)
    ways = {name: partial(_time, setting, copies, name, builders[name], expected) for name in builders}
    outcomes = setting.timed(ways)
    cells = [outcomes.get(way, "") for way in WAYS]
    kept = {
        "linears": case.shape.name,
        "rows": case.rows,
        "popularity": case.popularity,
        "distinct": built.distinct,
        "ranks": case.ranks,
        "int8": case.int8,
        "nbytes": built.nbytes,
        "sets": len(copies),
    }
    of_copy = setting.of_copy(built.nbytes, outcomes["ours"])
    return Row((*label(case), built.distinct, built.nbytes >> 10, *cells, of_copy), {**kept, **record(outcomes)})


def _time(setting: Setting, copies: Sequence[LoraCase], name: str, build: lora_ways.Builder, expected: Tensor) -> Time:
    way = build(copies[0])
    lora_ways.check(copies[0], name, way, expected)
    others = () if name in lora_ways.ALONE else copies[1:]
    calls = [partial(way, copies[0].y.clone()), *(partial(build(other), other.y.clone()) for other in others)]
    return setting.clock.time(*calls)


LORA = Part("Low-rank updates, us", columns, cases, label, measure)
