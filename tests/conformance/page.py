"""docs/adapters.md, from the rows of the matrix and what a run of it found."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from conformance.case import WHOLE, Case
from conformance.families import FAMILIES
from conformance.record import Record

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "adapters.md"
INTRODUCTION = Path(__file__).with_name("introduction.md")
REFRESH = "python tools/conformance.py"
LONGEST_MESSAGE = 320
OTHERS = "Other methods"
MAGNITUDE = re.compile(r"\| (1e-\d+) \|$")

ABOUT = f"""\
## The matrix

Every row is a test (`tests/conformance`): PEFT writes the adapter with every trained parameter moved, PEFT loads it
again, and the log probabilities of prompts and greedy answers in float32 are compared with Loraplex's, which computes
them in one batch with a request of a plain LoRA and one of the base, whose answers must not change. The last column is
the largest difference that was seen, to an order of magnitude; 1e-4 would fail. Rows on an int8 base are compared with
PEFT on the same rounded weights and activations, by the median of eight prompts. Written by `{REFRESH}`; do not edit.

What they are served as: a *low rank* update of linears, *terms* that change something else, *virtual tokens*.
"""


def render(cases: Sequence[Case], record: Record) -> str:
    """The page.

    Raises:
        KeyError: the record does not have all cases.
    """
    parts = [INTRODUCTION.read_text(encoding="utf-8"), ABOUT, _families()]
    tables: dict[str, list[Case]] = {}
    for case in cases:
        tables.setdefault(OTHERS if case.title == WHOLE else case.method, []).append(case)
    for heading, rows in tables.items():
        lines = [row(case, record) for case in rows]
        head = f"| {'method' if heading == OTHERS else 'setting'} | served | models | difference |"
        parts.append("\n".join([f"### {heading}\n", head, "| --- | --- | --- | --- |", *lines]) + "\n")
    return "\n".join(parts)


def row(case: Case, record: Record) -> str:
    """One line of a table."""
    title = case.method if case.title == WHOLE else _cell(case.title)
    families = ", ".join(case.families)
    if case.refused:
        return f"| {title} | refused: {_message(case, record)} | {families} | |"
    worst = max(record.differences[case.id][family] for family in case.families)
    inert = ", changes nothing" if case.inert else ""
    return f"| {title} | exact: {case.how}{inert} | {families} | {_magnitude(worst)} |"


def holds(written: str, fresh: str) -> bool:
    """Whether a line of the page is still true: the same words, and a difference that is at most one order off.

    Other processors round otherwise; the page has to hold on them too.
    """
    old, new = MAGNITUDE.search(written), MAGNITUDE.search(fresh)
    if old is None or new is None:
        return written == fresh
    return written[: old.start()] == fresh[: new.start()] and 0.09 < float(new[1]) / float(old[1]) < 11


def _magnitude(difference: float) -> str:
    """The power of ten next to it."""
    return f"1e-{-round(math.log10(max(difference, 1e-7)))}"


def _message(case: Case, record: Record) -> str:
    """The first reason, without the adapter's name."""
    message = record.refusals[case.id][case.families[0]].replace(f"'{case.id}' ", "")
    message = message.removeprefix("adapter ").removeprefix("is refused: ")
    first = message.split("; tensor ")[0]
    return _cell(textwrap.shorten(first, LONGEST_MESSAGE, placeholder=" ..."))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _families() -> str:
    lines = [f"- `{family.name}`: {family.about}" for family in FAMILIES.values()]
    return (
        "The models, tiny and random, each with a trait that adapters have to cope with:\n\n" + "\n".join(lines) + "\n"
    )
