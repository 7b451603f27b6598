"""The engine without HTTP is given the very requests that a load sends over it."""

from __future__ import annotations

import pytest
from serving.alone import run_alone
from support.engines import make_engine

from loraplex_server.bench.load.lengths import Fixed
from loraplex_server.bench.load.options import LoadOptions
from loraplex_server.bench.load.targets import Targets
from loraplex_server.bench.load.workload import plan
from loraplex_server.demo import find_demo


@pytest.fixture(scope="module")
def core():
    core = make_engine(find_demo() / "base")
    yield core
    core.store.close()


def planned(prompt):
    options = LoadOptions(requests=3, concurrency=3, prompt=Fixed(prompt), output=Fixed(6), token_ids=(10, 100))
    return plan(options, Targets("http://nowhere", "base", []), seed=0)


def test_all_tokens_of_all_requests_are_counted(core):
    found = run_alone(core, planned(5))
    assert found["output_tok_s"] > 0
    assert found["steady_decode_tok_s"] > 0
    assert found["engine_cpu_s_per_1000"] > 0
    assert not core.has_work


def test_a_request_that_the_engine_refuses_is_no_result(core):
    with pytest.raises(RuntimeError, match="3 requests failed: the prompt has 100000 tokens"):
        run_alone(core, planned(100_000))
