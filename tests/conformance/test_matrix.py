"""Each adapter of the matrix is exactly right or refused with a reason, and `adapters check` knows which."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.bench import Bench
from conformance.case import Case
from conformance.cases import CASES
from conformance.oracle import CLOSE
from conformance.record import Record
from loraplex_server.commands.check import check_adapter

SMALLEST_EFFECT = 0.01

Find = Callable[[str], Bench]


def _pairs(cases: list[Case]) -> list[object]:
    return [pytest.param(case, family, id=f"{case.id}-{family}") for case in cases for family in case.families]


@pytest.mark.parametrize(("case", "family"), _pairs([case for case in CASES if not case.refused]))
def test_a_served_adapter_answers_as_peft_does(case: Case, family: str, bench_of: Find, record: Record) -> None:
    bench = bench_of(family)
    folder = bench.write(case)
    found = bench.compare(case)
    if case.inert:
        assert found.effect < CLOSE
    else:
        assert found.effect > SMALLEST_EFFECT, "this adapter proves nothing: it does not move the base"
    assert found.difference < CLOSE
    for model in (None, str(bench.folder)):
        assert check_adapter(str(folder), model).reasons == []
    record.differences.setdefault(case.id, {})[family] = found.difference


@pytest.mark.parametrize(("case", "family"), _pairs([case for case in CASES if case.refused]))
def test_any_other_adapter_is_refused_with_a_reason(case: Case, family: str, bench_of: Find, record: Record) -> None:
    bench = bench_of(family)
    folder = bench.write(case)
    message = bench.refusal(case)
    missing = [word for word in case.refused if word not in message]
    assert not missing, message
    reasons = "; ".join(check_adapter(str(folder), str(bench.folder)).reasons)
    assert [word for word in case.refused if word not in reasons] == []
    record.refusals.setdefault(case.id, {})[family] = message
