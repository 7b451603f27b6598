"""Two processes in bfloat16 are as near to the exact answer as one is, though they add up in another order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checkpoints import VARIANTS, prompt
from support.engines import make_engine, request, run

from loraplex_server.engine.core import EngineCore

pytestmark = pytest.mark.slow
NAMES = [*VARIANTS, "base"]
# Where one process rounds a sum once, two round a part each and then the sum of the parts: three roundings of about one
# size, none of which knows of the others, are sqrt(3) of one. Only two sums a layer are divided, and all else
# is rounded alike: so this is more than there can be. A rank that forgot its part of the adapters would be off by
# ten times as much.
MOST = math.sqrt(3)


@pytest.fixture(scope="module")
def cores(base: Path) -> Iterator[tuple[EngineCore, EngineCore, EngineCore]]:
    """Exact, and rounded alone and divided."""
    made = [
        make_engine(base, tensor_parallel_size=ranks, threads=1, dtype=dtype)
        for ranks, dtype in ((1, "float32"), (1, "bfloat16"), (2, "bfloat16"))
    ]
    yield made[0], made[1], made[2]
    for core in made:
        core.close()


def scores(core: EngineCore, adapters: Path, told: dict[str, list[int]]) -> dict[str, list[float]]:
    """Log probability of each token but the first, computed as prompts."""
    asked = [
        request(name, told[name], [] if name == "base" else [name], root=adapters, max_tokens=1, prompt_logprobs=0)
        for name in NAMES
    ]
    found = {}
    for (name, _), output in run(core, asked).items():
        assert output.started is not None, output.failure
        found[name] = [each.logprob for each in output.started.prompt_logprobs or [] if each is not None]
    return found


def answers(core: EngineCore, adapters: Path) -> tuple[dict[str, list[int]], dict[str, list[float]]]:
    """Of each adapter, all in one batch: prompt and answer, and the answer's log probabilities."""
    asked = [
        request(name, prompt(8, at), [] if name == "base" else [name], root=adapters, max_tokens=32)
        for at, name in enumerate(NAMES)
    ]
    outputs = run(core, asked)
    told = {each.request_id: [*each.prompt_token_ids, *outputs[each.request_id, 0].tokens] for each in asked}
    return told, {name: outputs[name, 0].logprobs for name in NAMES}


def error(ours: dict[str, list[float]], exact: dict[str, list[float]]) -> float:
    """Root of the mean square, of all tokens of all adapters."""
    differences = [a - b for name in NAMES for a, b in zip(ours[name], exact[name], strict=True)]
    return math.sqrt(sum(each * each for each in differences) / len(differences))


def test_prompts(cores: tuple[EngineCore, EngineCore, EngineCore], adapters: Path) -> None:
    told = {name: prompt(40, at) for at, name in enumerate(NAMES)}
    exact, alone, divided = (scores(core, adapters, told) for core in cores)
    assert error(divided, alone) > 0  # both are rounded, each in its own way
    assert error(divided, exact) < MOST * error(alone, exact)


def test_answers(cores: tuple[EngineCore, EngineCore, EngineCore], adapters: Path) -> None:
    """Each engine's own, for in bfloat16 the likeliest token may be another; what is scored is what it says of it."""
    exact, *rounded = cores
    errors = []
    for core in rounded:
        told, found = answers(core, adapters)
        of_all = scores(exact, adapters, told)
        errors.append(error(found, {name: of_all[name][-len(found[name]) :] for name in NAMES}))
    alone, divided = errors
    assert alone > 0
    assert divided < MOST * alone
