"""One engine a family for the whole session, and what all cases found."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from conformance.bench import Bench
from conformance.families import FAMILIES
from conformance.record import Record
from loraplex_server.bench.limits.threads import computing_with


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """At these sizes threads do nothing but wait for each other."""
    with computing_with(1):
        yield


@pytest.fixture(scope="session")
def bench_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Bench]]:
    """The family's bench, made when first asked for."""
    made: dict[str, Bench] = {}

    def find(family: str) -> Bench:
        if family not in made:
            made[family] = Bench(FAMILIES[family], tmp_path_factory.mktemp(family))
        return made[family]

    yield find
    for bench in made.values():
        bench.close()


@pytest.fixture(scope="session")
def record() -> Record:
    return Record()
