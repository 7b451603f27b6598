"""OFT rotates blocks of a linear's input: a block that lies on two ranks is refused, one that lies on one is exact.

So is whatever changes the input of the output layer, whose rows are everybody's and whose adapters are rank 0's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from peft import IA3Config, OFTConfig, get_peft_model
from support.checkpoints import LLAMA, load_base, prompt
from support.engines import make_engine, request, run
from support.term_world import PEFT_MAY_WARN, randomized

from loraplex_server.engine.core import EngineCore

pytestmark = [pytest.mark.slow, *PEFT_MAY_WARN]
INNER = LLAMA.intermediate_size  # 112: each of two ranks has 56 of down_proj's inputs
FITS, CROSSES = 14, 16
FITS_HEAD = 8


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both divide the whole input; `everywhere` has the same blocks where all ranks have all of the input."""
    root = tmp_path_factory.mktemp("adapters")
    for name, site, size in (
        ("fits", "down_proj", FITS),
        ("crosses", "down_proj", CROSSES),
        ("everywhere", "up_proj", CROSSES),
    ):
        config = OFTConfig(task_type="CAUSAL_LM", target_modules=[site], oft_block_size=size)
        randomized(get_peft_model(load_base(base), config), size).save_pretrained(root / name)
    head = {"task_type": "CAUSAL_LM", "target_modules": ["lm_head"]}
    for name, config in (
        ("rotated head", OFTConfig(**head, oft_block_size=FITS_HEAD)),
        ("scaled head", IA3Config(**head, feedforward_modules=["lm_head"])),
    ):
        saved = randomized(get_peft_model(load_base(base), config), 1)
        saved.save_pretrained(root / name, save_embedding_layers=False)
    return root


@pytest.fixture(scope="module")
def cores(base: Path) -> Iterator[tuple[EngineCore, EngineCore]]:
    alone, divided = (make_engine(base, tensor_parallel_size=ranks, threads=1) for ranks in (1, 2))
    yield alone, divided
    divided.close()
    alone.close()


def test_a_block_across_two_ranks_is_refused_and_the_rest_goes_on(
    cores: tuple[EngineCore, EngineCore], adapters: Path
) -> None:
    alone, divided = cores
    assert INNER % CROSSES == 0
    assert INNER // 2 % CROSSES != 0
    asked = [request(name, prompt(9, 1), [name], root=adapters) for name in ("crosses", "fits", "everywhere")]
    asked.append(request("base", prompt(9, 1)))
    whole, parted = run(alone, asked), run(divided, asked)
    failure = parted.pop(("crosses", 0)).failure
    assert failure is not None
    assert failure.kind == "adapter"
    assert "down_proj is rotated in blocks of 16 inputs, and a rank's inputs from 0 to 56 " in failure.message
    assert failure.message.endswith("lower --tensor-parallel-size")
    assert whole.pop(("crosses", 0)).failure is None  # which is a way out: one process serves it
    for key, output in parted.items():
        assert output.failure is None, output.failure
        assert output.tokens == whole[key].tokens
        assert output.logprobs == pytest.approx(whole[key].logprobs, abs=1e-4)
    answers = {tuple(output.logprobs) for output in whole.values()}
    assert len(answers) == 3  # each adapter does something


def test_it_is_refused_each_time_and_nothing_of_it_stays(cores: tuple[EngineCore, EngineCore], adapters: Path) -> None:
    _, divided = cores
    for turn in range(2):
        assert run(divided, [request(f"{turn}", prompt(5, turn), ["crosses"], root=adapters)])[f"{turn}", 0].failure
    assert "crosses" not in divided.store.stats().resident
    assert run(divided, [request("fits", prompt(5, 3), ["fits"], root=adapters)])["fits", 0].failure is None


@pytest.mark.parametrize("name", ["rotated head", "scaled head"])
def test_a_changed_input_of_the_output_layer_is_refused(
    cores: tuple[EngineCore, EngineCore], adapters: Path, name: str
) -> None:
    """Rank 0 would multiply by its part of that layer once more, and wait for ranks that know nothing of it."""
    alone, divided = cores
    asked = [request("x", prompt(9, 1), [name], root=adapters)]
    assert run(alone, asked)["x", 0].failure is None
    failure = run(divided, asked)["x", 0].failure
    assert failure is not None
    assert "the input of lm_head is changed" in failure.message
    assert failure.message.endswith("lower --tensor-parallel-size")
