from __future__ import annotations

import peft
from support.peft_methods import COMMON, PREFIX, Tune

SITE = f"{PREFIX}model.layers.0.self_attn.q_proj.hra_u"


def test_vectors_that_depend_on_one_another_are_refused_where_they_are_orthogonalised(tune: Tune) -> None:
    tuned = tune(peft.HRAConfig(**COMMON, r=4, apply_GS=True))
    tuned.edit_tensors(lambda tensors: tensors[SITE][:, 3].copy_(tensors[SITE][:, 0] * 2))
    assert "q_proj.* has vectors that depend on one another" in tuned.refusal()


def test_a_vector_of_zeros_is_refused(tune: Tune) -> None:
    tuned = tune(peft.HRAConfig(**COMMON, r=4))
    tuned.edit_tensors(lambda tensors: tensors[SITE][:, 1].zero_())
    assert "model.layers.0.self_attn.q_proj: its update comes to an infinity or NaN" in tuned.refusal()
