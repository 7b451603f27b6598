"""What a config does not say means what PEFT takes it to mean: old files lack the keys that came later."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from conformance.bench import Bench
from conformance.case import Case
from conformance.cases import CASES
from conformance.families import FAMILIES
from conformance.oracle import CLOSE

# A config without the first is nobody's; the second was false before PEFT had the key, and true is its default since,
# so that an adapter without it is refused (tests/adapters/methods).
KEPT = ("peft_type", "use_cayley_neumann")


def _first_of_each_method() -> list[Case]:
    found: dict[str, Case] = {}
    for case in CASES:
        if case.how and "llama" in case.families:
            found.setdefault(case.method, case)
    return list(found.values())


def strip_defaults(folder: Path) -> list[str]:
    """Take out every key whose value PEFT would take anyway; their names."""
    path = folder / "adapter_config.json"
    values = json.loads(path.read_text())
    defaults = json.loads(json.dumps(_defaults(values["peft_type"]), default=str))
    gone = [key for key, value in values.items() if key not in KEPT and key in defaults and defaults[key] == value]
    path.write_text(json.dumps({key: value for key, value in values.items() if key not in gone}))
    return gone


def _defaults(peft_type: str) -> dict[str, object]:
    fields = dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[peft_type])
    values = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    made = {field.name: field.default_factory() for field in fields if callable(field.default_factory)}
    return values | made


@pytest.mark.parametrize("case", _first_of_each_method(), ids=lambda case: case.method)
def test_a_key_that_is_missing_has_pefts_default(case: Case, bench_of: Callable[[str], Bench]) -> None:
    bench = bench_of(FAMILIES["llama"].name)
    gone = strip_defaults(bench.write(case))
    assert gone
    assert bench.compare(case).difference < CLOSE
