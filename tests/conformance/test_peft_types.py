"""Every method of the installed PEFT is in the matrix: a new one fails here until somebody has decided about it."""

from __future__ import annotations

import dataclasses

import pytest
from peft import LoraConfig, PeftType

from conformance.cases import CASES
from loraplex_adapters.unserved import HARMLESS, SERVED, UNSERVED


@pytest.mark.parametrize("name", [kind.value for kind in PeftType])
def test_every_peft_type_has_a_row(name: str) -> None:
    assert name in {case.method for case in CASES}


def test_every_key_of_lora_is_known() -> None:
    keys = {field.name for field in dataclasses.fields(LoraConfig)}
    assert keys <= {*SERVED, *HARMLESS, *UNSERVED}


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({case.id for case in CASES}) == len(CASES)
