"""Every row that is served also runs where numbers are rounded: as near to PEFT as the rounding allows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.bench import Bench
from conformance.case import Case
from conformance.cases import CASES

# Rounding costs 0.01 to 0.05 at this size, whatever the adapter; those of the rows move the base by up to 1.7.
LOST = 0.1


@pytest.mark.parametrize("family", ["llama-bf16", "llama-int8-adapters"])
@pytest.mark.parametrize("case", [case for case in CASES if "llama" in case.families and case.how], ids=lambda c: c.id)
def test_a_served_adapter_is_near_where_numbers_are_rounded(
    case: Case, family: str, bench_of: Callable[[str], Bench]
) -> None:
    bench = bench_of(family)
    bench.write(case)
    assert bench.drift(case) < LOST
