from __future__ import annotations

import random
import subprocess
import sys

from loraplex_adapters.policy import MOST_REMEMBERED, Popularity


def order(policy: Popularity[str], sizes: dict[str, int]) -> str:
    """The first to leave first."""
    return "".join(sorted(sizes, key=lambda key: policy.worth(key, sizes[key])))


def used(keys: str, half_life: float = 100, fixed_cost: int = 0) -> Popularity[str]:
    policy: Popularity[str] = Popularity(half_life, fixed_cost)
    for key in keys:
        policy.used(key)
    return policy


SAME = dict.fromkeys("abc", 10)


def test_it_needs_no_torch() -> None:
    code = "import sys, loraplex_adapters.policy, loraplex_adapters.host_tier; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_what_is_used_more_often_stays_longer() -> None:
    assert order(used("aaabbc"), SAME) == "cba"


def test_of_what_is_used_equally_often_the_least_recently_used_goes() -> None:
    assert order(used("cabcab"), SAME) == "cab"


def test_what_was_popular_long_ago_goes() -> None:
    assert order(used("a" * 50 + "b" * 40 + "c" * 8, half_life=10), SAME) == "acb"
    assert order(used("a" * 50 + "b" * 40 + "c" * 8, half_life=1000), SAME) == "cba"


def test_what_leaves_more_room_for_a_cheaper_return_goes() -> None:
    sizes = {"a": 1, "b": 10, "c": 100}
    assert order(used("abc", fixed_cost=1000), sizes) == "cba"
    assert order(used("cba", fixed_cost=0), sizes) == "cba"  # each byte costs itself: only use counts
    assert order(used("abccccccccccc", fixed_cost=5), sizes) == "bac"


def test_what_was_never_used_goes_first() -> None:
    assert order(used("ab"), SAME)[0] == "c"


def test_the_order_never_changes_by_itself() -> None:
    policy = used("abcacb" * 3, half_life=3)
    before = order(policy, SAME)
    for _ in range(10_000):
        policy.used("other")
    assert order(policy, SAME) == before


def test_it_remembers_a_bounded_number_and_the_best_of_them() -> None:
    policy: Popularity[int] = Popularity()
    rng = random.Random(0)
    for number in range(5 * MOST_REMEMBERED):
        policy.used(number)
        policy.used(-1 - rng.randrange(10))
    assert len(policy._levels) <= 2 * MOST_REMEMBERED
    assert all(policy.worth(-1 - popular, 1) > policy.worth(0, 1) for popular in range(10))
