"""docs/adapters.md, from the rows of the matrix and what a run of it found."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path

from conformance.case import Case
from conformance.families import FAMILIES
from conformance.record import Record

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "adapters.md"
INTRODUCTION = Path(__file__).with_name("introduction.md")
REFRESH = "python tools/conformance.py"
LONGEST_MESSAGE = 400
# Other processors round otherwise; the page has to hold on them too.
MARGIN = 3.0
BOUND = re.compile(r"\| < (1e-\d+) \|$")

ABOUT = f"""\
## The matrix

Every row is a test (`tests/conformance`): PEFT writes the adapter with every trained parameter moved, PEFT loads it
again, and the log probabilities of prompts and greedy answers in float32 are compared with Loraplex's, which computes
them in one batch with a request of a plain LoRA and one of the base, whose answers must not change. The last column is
a bound on the largest difference. Written by `{REFRESH}`; do not edit.

What they are served as: a *low rank* update of linears, *terms* that change something else, *virtual tokens*.
"""


def render(cases: Sequence[Case], record: Record) -> str:
    """The page.

    Raises:
        KeyError: the record does not have all cases.
    """
    parts = [INTRODUCTION.read_text(encoding="utf-8"), ABOUT, _families()]
    for method, rows in itertools.groupby(cases, lambda case: case.method):
        lines = [row(case, record) for case in rows]
        parts.append(f"### {method}\n\n| PEFT's setting | served | models | difference |\n| --- | --- | --- | --- |\n")
        parts[-1] += "\n".join(lines) + "\n"
    return "\n".join(parts)


def row(case: Case, record: Record) -> str:
    """One line of a table."""
    families = ", ".join(case.families)
    if case.refused:
        return f"| {_cell(case.title)} | refused: {_message(case, record)} | {families} | |"
    worst = max(record.differences[case.id][family] for family in case.families)
    inert = ", changes nothing" if case.inert else ""
    return f"| {_cell(case.title)} | exact: {case.how}{inert} | {families} | < {_bound(worst)} |"


def holds(written: str, fresh: str) -> bool:
    """Whether a line of the page is still true: the same words, and a bound of the same order, or a better one."""
    old, new = BOUND.search(written), BOUND.search(fresh)
    if old is None or new is None:
        return written == fresh
    return written[: old.start()] == fresh[: new.start()] and float(new[1]) < 11 * float(old[1])


def _bound(difference: float) -> str:
    """The next power of ten, with a margin."""
    return f"1e-{-math.ceil(math.log10(max(MARGIN * difference, 1e-6)))}"


def _message(case: Case, record: Record) -> str:
    """The first reason, without the adapter's name."""
    message = record.refusals[case.id][case.families[0]].replace(f"'{case.id}' ", "")
    message = message.removeprefix("adapter ").removeprefix("is refused: ")
    first = message.split("; tensor ")[0]
    return _cell(first if len(first) <= LONGEST_MESSAGE else first[: LONGEST_MESSAGE - 3] + "...")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _families() -> str:
    lines = [
        f"- `{family.name}` ({family.config.architectures or type(family.config).__name__}): {family.about}"
        for family in FAMILIES.values()
    ]
    return (
        "The models, tiny and random, each with a trait that adapters have to cope with:\n\n" + "\n".join(lines) + "\n"
    )
