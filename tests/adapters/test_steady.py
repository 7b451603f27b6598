from __future__ import annotations

import pytest

from loraplex_adapters import steady as module
from loraplex_adapters.errors import AdapterChangedError, AdapterRefusedError
from loraplex_adapters.steady import PAUSES_S, steady


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    return slept


class Replaced:
    """Files that are replaced so many times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> str:
        if self.left:
            self.left -= 1
            raise AdapterChangedError("replaced")
        return "read"


def test_what_was_replaced_meanwhile_is_read_again(pauses: list[float]) -> None:
    assert steady(Replaced(len(PAUSES_S))) == "read"
    assert pauses == list(PAUSES_S)


def test_what_is_replaced_every_time_is_an_error_in_the_end() -> None:
    with pytest.raises(AdapterChangedError):
        steady(Replaced(len(PAUSES_S) + 1))


def test_a_refusal_is_final(pauses: list[float]) -> None:
    def refused() -> None:
        raise AdapterRefusedError("a", ["bad"])

    with pytest.raises(AdapterRefusedError):
        steady(refused)
    assert pauses == []
