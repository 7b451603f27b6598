from __future__ import annotations

import pytest
from peft.utils import PeftType

from loraplex_adapters.methods import METHODS
from loraplex_adapters.methods.refused import REFUSED, why_refused


@pytest.mark.parametrize("peft_type", sorted(REFUSED))
def test_a_refusal_names_the_method_and_the_way_out(peft_type: str) -> None:
    message = why_refused(peft_type)
    assert f"'{peft_type}'" in message
    assert any(way in message for way in ("save_as_lora", "merge_and_unload", "convert-bone", "train the task with"))


def test_a_type_of_a_later_peft_is_refused_as_unknown() -> None:
    assert why_refused("QUANTUM").startswith("peft_type 'QUANTUM' is not known to Loraplex")


def test_a_config_without_a_type_is_not_of_peft() -> None:
    assert "no peft_type" in why_refused(None)


def test_only_methods_that_peft_has_or_had_are_refused() -> None:
    assert set(REFUSED) - {"BONE"} < {member.value for member in PeftType}


def test_every_method_of_peft_is_served_or_refused_by_name() -> None:
    everything = {member.value for member in PeftType}
    assert everything - METHODS.keys() - REFUSED.keys() == set()
    assert METHODS.keys() & REFUSED.keys() == set()
