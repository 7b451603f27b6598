"""Every form of weights, activations, adapters and cache answers as torch's own formulas do on the CPU.

On a GPU through Triton's kernels and graphs, here through the compiled kernels and tapes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from support.checkpoints import VOCAB, write_adapters, write_base
from support.engines import Output, make_engine, request, run
from transformers import LlamaConfig

from loraplex_kernels import native
from loraplex_kernels.linear.side_by_side import SideBySide
from loraplex_kernels.linear.stored import StoredWeight
from loraplex_kernels.lora import cpu
from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.messages import GenerateRequest

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
# Widths that all kernels take, so that none gives way to a slower one.
WIDE = LlamaConfig(
    vocab_size=VOCAB,
    hidden_size=256,
    intermediate_size=384,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    tie_word_embeddings=False,
    initializer_range=0.15,
)
VARIANTS: dict[str, dict[str, Any]] = {
    "r4": {"r": 4, "target_modules": "all-linear"},
    "r32": {"r": 32, "lora_alpha": 16, "target_modules": "all-linear"},
    "dora": {"r": 6, "use_dora": True, "target_modules": "all-linear"},
    "qv": {"r": 9, "use_rslora": True, "target_modules": ["q_proj", "v_proj"]},
}
# (prompt tokens, adapter): decoding and chunks of all of the kernels' sizes, among them more rows than are multiplied
# with packed codes.
ASKED = [(3, None), (8, "r4"), (17, "dora"), (40, "r32"), (70, "qv"), (130, "r4"), (300, None), (70, "dora"), (9, "r4")]


@dataclass(frozen=True)
class Form:
    """How an engine computes, and how far its log probabilities may be from the formulas' on average."""

    options: dict[str, Any]
    tolerance: float
    cpu: bool = True  # a CPU has it
    reference: dict[str, Any] = field(default_factory=dict)  # instead of these options


EXACT, HALF, EIGHT = 1e-3, 0.1, 0.25  # float32; bfloat16's rounding; activations, or keys and values, of eight bits
BF16: dict[str, Any] = {"dtype": "bfloat16"}
FLOAT32: dict[str, Any] = {"dtype": "float32"}
WEIGHTS = ("none", "int4", "int4-32", "nf4", "int8-weight")
FORMS = {
    **{name: Form({"quantization": name}, EXACT) for name in (*WEIGHTS, "fp8")},
    **{f"{name} bf16": Form({"quantization": name, **BF16}, HALF, reference=FLOAT32) for name in WEIGHTS},
    "fp8 bf16": Form({"quantization": "fp8", **BF16}, EIGHT, reference=FLOAT32),
    "int8 adapters": Form({"adapter_dtype": "int8"}, EXACT),
    "int8 adapters bf16": Form({"adapter_dtype": "int8", **BF16}, HALF, reference=FLOAT32),
    "fp8 cache": Form({"kv_cache_dtype": "fp8"}, EIGHT, cpu=False, reference={"kv_cache_dtype": "auto"}),
    "fp8 cache bf16": Form(
        {"kv_cache_dtype": "fp8", **BF16}, EIGHT, cpu=False, reference={"kv_cache_dtype": "auto", **FLOAT32}
    ),
}
CASES = [
    *(pytest.param("cpu", name, id=f"cpu {name}") for name, form in FORMS.items() if form.cpu),
    *(pytest.param("cuda", name, id=f"cuda {name}", marks=[pytest.mark.gpu, NO_GPU]) for name in FORMS),
]

# The head of a rounded model would be rounded where a CPU multiplies bytes, and nowhere else.
COMMON: dict[str, Any] = {"head_quantization": "none", "enable_prefix_caching": False, "max_num_seqs": 8}

Answers = dict[tuple[str, int], Output]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"), WIDE)


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapters(base, tmp_path_factory.mktemp("adapters"), VARIANTS)


@pytest.fixture
def engine(base: Path) -> Iterator[Callable[..., EngineCore]]:
    made: list[EngineCore] = []

    def make(**options: Any) -> EngineCore:
        made.append(make_engine(base, **COMMON, **options))
        return made[-1]

    yield make
    for core in made:
        core.store.close()


@pytest.fixture(scope="module")
def expected(base: Path, adapters: Path) -> Callable[[dict[str, Any]], Answers]:
    """Of the formulas: no compiled kernel, no tape."""
    known: dict[str, Answers] = {}

    def of(options: dict[str, Any]) -> Answers:
        if repr(options) not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(native, "library", lambda: None)
                patch.setattr(cpu, "kernel", lambda: None)  # which remembers what it found
                core = make_engine(base, **COMMON, graphs=False, **options)
                known[repr(options)] = run(core, asked(adapters))
                core.store.close()
        return known[repr(options)]

    return of


def asked(root: Path) -> list[GenerateRequest]:
    return [
        request(
            f"r{place}",
            random.Random(place).choices(range(VOCAB), k=length),
            [] if name is None else [name],
            root=root,
            max_tokens=4,
        )
        for place, (length, name) in enumerate(2 * ASKED)
    ]


def distance(answers: Answers, expected: Answers) -> float:
    """Mean difference of the likeliest token's log probability, of each answer up to where two tokens were as likely.

    Where they part, the largest log probability is still that of the same context.
    """
    apart, total = [], 0
    for name, one in answers.items():
        other = expected[name]
        same = next((at for at, pair in enumerate(zip(one.tokens, other.tokens, strict=False)) if len({*pair}) > 1), 99)
        pairs = list(zip(one.logprobs, other.logprobs, strict=False))[: same + 1]
        apart += [abs(mine - theirs) for mine, theirs in pairs]
        total += len(other.logprobs)
    return fmean(apart) if len(apart) > 0.6 * total else math.inf  # too early for a mean to say anything


@pytest.mark.parametrize(("device", "name"), CASES)
def test_a_form_answers_as_the_formulas_do(
    device: str,
    name: str,
    engine: Callable[..., EngineCore],
    expected: Callable[[dict[str, Any]], Answers],
    adapters: Path,
) -> None:
    form = FORMS[name]
    core = engine(device=device, **form.options)
    if device == "cuda":
        weights = [linear.weight for layer in core.runner.model.layers for linear in layer.linears]
        assert not any(isinstance(weight, StoredWeight | SideBySide) for weight in weights)
    reference = expected(form.options | form.reference)
    for _ in range(2):  # the second time all adapters are there, and all graphs
        assert distance(run(core, asked(adapters)), reference) < form.tolerance
    assert core.stats().replays.replayed_total or device == "cpu"  # where some forms have no compiled kernel


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("int4", {"quantization": "none"}),
        ("nf4", {"quantization": "int4"}),
        ("int8 adapters", {"adapter_dtype": "auto"}),
    ],
)
def test_another_form_would_be_noticed(
    name: str, wrong: dict[str, Any], expected: Callable[[dict[str, Any]], Answers]
) -> None:
    form = FORMS[name]
    with_it, with_another = expected(form.options | form.reference), expected(form.options | wrong)
    assert distance(with_another, with_it) > form.tolerance
