from __future__ import annotations

import pytest

from loraplex_adapters.host_tier import HostTier


class Worth:
    """As told."""

    def __init__(self, **worth: float) -> None:
        self.of = worth

    def used(self, key: str) -> None: ...

    def worth(self, key: str, nbytes: int) -> float:
        return self.of[key]


def tier(budget: int, **worth: float) -> HostTier[str, str]:
    return HostTier(budget, Worth(**worth))


def test_what_fits_is_kept_until_it_is_taken() -> None:
    host = tier(10, a=1, b=1)
    assert host.put("a", "A", 4) == []
    assert host.put("b", "B", 6) == []
    assert (host.nbytes("a"), host.nbytes("c"), host.used, len(host)) == (4, None, 10, 2)
    assert host.take("a") == "A"
    assert "a" not in host
    assert host.used == 6
    with pytest.raises(KeyError):
        host.take("a")
    host.check_integrity()


def test_what_is_worth_least_makes_room() -> None:
    host = tier(10, a=3, b=1, c=2, d=4)
    for key in "abc":
        host.put(key, key, 3)
    assert host.put("d", "d", 6) == ["b", "c"]
    assert {key for key, _ in host.items()} == {"a", "d"}
    assert host.evictions == 2
    host.check_integrity()


def test_a_newcomer_that_is_worth_less_than_what_it_would_displace_is_not_kept() -> None:
    host = tier(10, a=3, b=1, c=2)
    host.put("a", "a", 5)
    host.put("b", "b", 5)
    assert host.victims("c", 6) is None  # b alone is not enough
    assert host.put("c", "c", 6) == ["c"]
    assert {key for key, _ in host.items()} == {"a", "b"}
    assert host.put("c", "c", 5) == ["b"]
    assert host.evictions == 1


def test_what_is_larger_than_the_budget_displaces_nothing() -> None:
    host = tier(10, a=1, b=9)
    host.put("a", "a", 5)
    assert host.put("b", "b", 11) == ["b"]
    assert "a" in host
    assert tier(0, a=1).put("a", "a", 1) == ["a"]


def test_the_same_key_twice_is_an_error() -> None:
    host = tier(10, a=1)
    host.put("a", "a", 5)
    with pytest.raises(ValueError, match="'a' is held already"):
        host.put("a", "a", 5)
