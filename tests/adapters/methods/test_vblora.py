from __future__ import annotations

import peft
import torch
from support.peft_methods import COMMON, PREFIX, Tune, Tuned, deltas

SITE = "model.layers.1.mlp.down_proj"
INDICES = f"{PREFIX}{SITE}.vblora_logits_A_topk_indices"


def top_only(tune: Tune) -> Tuned:
    return tune(peft.VBLoRAConfig(**COMMON, r=4, num_vectors=20, vector_length=8, topk=3, save_only_topk_weights=True))


def test_only_the_choices_may_be_saved(tune: Tune) -> None:
    tuned = top_only(tune)
    found = deltas(tuned.load(), tuned.base)
    for site, delta in found.items():
        torch.testing.assert_close(delta.float(), tuned.delta(site), atol=1e-6, rtol=1e-5)


def test_a_choice_outside_the_bank_is_refused(tune: Tune) -> None:
    tuned = top_only(tune)
    tuned.edit_tensors(lambda tensors: tensors[INDICES].view(-1)[5].fill_(20))
    assert f"{SITE}.* points outside the bank of 20 vectors" in tuned.refusal()


def test_choices_must_be_integers(tune: Tune) -> None:
    tuned = top_only(tune)
    tuned.edit_tensors(lambda tensors: tensors.update({INDICES: tensors[INDICES].float()}))
    assert f"{INDICES} is F32; it must be integers" in tuned.refusal()


def test_a_vector_length_that_does_not_divide_is_refused(tune: Tune) -> None:
    tuned = top_only(tune)
    tuned.edit_config(vector_length=7)
    assert "'vector_length' 7 does not divide both sides of" in tuned.refusal()
