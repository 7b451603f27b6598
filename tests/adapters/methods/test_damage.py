"""Whatever is wrong with the files of a method, it is refused, and the reason names it."""

from __future__ import annotations

from collections.abc import Callable

import peft
import pytest
import torch
from peft import PeftConfig
from support.peft_methods import COMMON, LOW_RANK, Tune

KINDS: dict[str, Callable[[], PeftConfig]] = {
    **{name: LOW_RANK[name] for name in ("adalora", "vera", "loha", "lokr", "hra", "vblora", "miss", "delora", "deft")},
    "gralora": LOW_RANK["gralora-hybrid"],
    "ia3": lambda: peft.IA3Config(**COMMON, feedforward_modules=["down_proj"]),
    "oft": lambda: peft.OFTConfig(**COMMON, oft_block_size=4),
    "ln-tuning": lambda: peft.LNTuningConfig(task_type="CAUSAL_LM"),
    "prompt": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    "prefix": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
}


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> Callable[[], PeftConfig]:
    return KINDS[request.param]


def test_a_missing_tensor(tune: Tune, kind: Callable[[], PeftConfig]) -> None:
    tuned, gone = tune(kind()), []
    tuned.edit_tensors(lambda tensors: (gone.append(sorted(tensors)[0]), tensors.pop(gone[0])))
    assert f"1 tensors that the config asks for are not in the file: {gone[0]}" in tuned.refusal()


def test_an_extra_tensor(tune: Tune, kind: Callable[[], PeftConfig]) -> None:
    tuned = tune(kind())
    name = "base_model.model.model.layers.0.self_attn.o_proj.lora_A.weight"
    tuned.edit_tensors(lambda tensors: tensors.update({name: torch.ones(2, 2)}))
    assert f"1 tensors bind to nothing that the config selects: {name}" in tuned.refusal()


def test_a_tensor_there_twice(tune: Tune, kind: Callable[[], PeftConfig]) -> None:
    tuned = tune(kind())

    def edit(tensors) -> None:
        first = sorted(tensors)[0]
        stem = first.removesuffix(".weight")
        tensors[f"{stem}.default{first[len(stem) :]}"] = tensors[first].clone()

    tuned.edit_tensors(edit)
    assert "1 tensors bind to nothing" in tuned.refusal()


def test_a_wrong_shape_is_told_with_the_right_one(tune: Tune, kind: Callable[[], PeftConfig]) -> None:
    tuned, bent = tune(kind()), []

    def edit(tensors) -> None:
        name = sorted(tensors)[0]
        bent.append((name, list(tensors[name].shape)))
        tensors[name] = torch.ones(*tensors[name].shape, 3)

    tuned.edit_tensors(edit)
    ((name, shape),) = bent
    assert f"{name} has shape {[*shape, 3]}, expected {shape}" in tuned.refusal()


def test_a_weight_that_is_not_finite(tune: Tune, kind: Callable[[], PeftConfig]) -> None:
    tuned = tune(kind())
    for value in (float("nan"), float("inf")):
        tuned.edit_tensors(lambda tensors, value=value: tensors[sorted(tensors)[0]].view(-1)[0].fill_(value))
        assert "infinity or NaN" in tuned.refusal()


def test_integers_where_weights_belong(tune: Tune, kind: Callable[[], PeftConfig]) -> None:
    tuned, name = tune(kind()), []

    def edit(tensors) -> None:
        name.append(sorted(tensors)[0])
        tensors[name[0]] = tensors[name[0]].to(torch.int32)

    tuned.edit_tensors(edit)
    assert f"{name[0]} is I32" in tuned.refusal()


def test_a_key_of_a_newer_peft(tune: Tune, kind: Callable[[], PeftConfig]) -> None:
    tuned = tune(kind())
    tuned.edit_config(quantum=True)
    assert "'quantum' is not known to Loraplex" in tuned.refusal()


def test_half_precision_files_are_read(tune: Tune, kind: Callable[[], PeftConfig]) -> None:
    tuned = tune(kind())
    tuned.edit_tensors(lambda tensors: tensors.update({name: tensors[name].half() for name in tensors}))
    assert tuned.load(torch.bfloat16).generation


def test_names_with_the_adapters_name_are_taken_as_peft_takes_them(tune: Tune) -> None:
    tuned = tune(LOW_RANK["vera"]())
    before = tuned.load().buffer.clone()
    tuned.edit_tensors(lambda tensors: [tensors.update({f"{n}.default": tensors.pop(n)}) for n in list(tensors)])
    assert torch.equal(tuned.load().buffer, before)


@pytest.mark.parametrize("case", ["loha", "lokr", "hra", "vera-drawn", "miss", "gralora"])
def test_impossible_ranks_are_refused(tune: Tune, case: str) -> None:
    tuned = tune(LOW_RANK[case]())
    for rank in (0, -1, 2**62, 2.5, "8", True, None):
        tuned.edit_config(r=rank)
        assert tuned.refusal()


def test_projections_that_would_fill_the_memory_are_never_drawn(tune: Tune) -> None:
    tuned = tune(LOW_RANK["vera-drawn"]())
    tuned.edit_config(r=3000)
    tuned.edit_tensors(
        lambda tensors: tensors.update({n: torch.ones(3000) for n in tensors if n.endswith("vera_lambda_d")})
    )
    assert "has rank 3000 as a low-rank one, of which at most 512" in tuned.refusal()


def test_a_scale_that_would_overflow_is_refused(tune: Tune) -> None:
    tuned = tune(LOW_RANK["loha"]())
    tuned.edit_config(alpha=1e30)
    assert "which would overflow" in tuned.refusal()


def test_a_selection_of_nothing_is_refused(tune: Tune) -> None:
    tuned = tune(LOW_RANK["hra"]())
    tuned.edit_config(target_modules=["c_attn"])
    assert "target_modules ['c_attn'] select no linear" in tuned.refusal()


def test_an_expression_that_could_hang_is_refused(tune: Tune) -> None:
    tuned = tune(KINDS["ia3"]())
    tuned.edit_config(feedforward_modules=r"(a|a)*b")
    assert "'feedforward_modules'" in tuned.refusal()
