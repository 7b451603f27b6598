"""Every row that is served runs in bfloat16, which most servers use: as near to PEFT as rounding allows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.bench import Bench
from conformance.case import Case
from conformance.cases import CASES

# Rounding costs 0.02 to 0.04 at this size, whatever the adapter; those of the rows move the base by up to 1.7.
LOST = 0.08


@pytest.mark.parametrize("case", [case for case in CASES if "llama" in case.families and case.how], ids=lambda c: c.id)
def test_a_served_adapter_runs_in_bfloat16(case: Case, bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of("llama-bf16")
    bench.write(case)
    assert bench.drift(case) < LOST
