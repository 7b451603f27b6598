"""A launch that was recorded with one step's adapters computes the steps that are loaded after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from loraplex_kernels import native
from loraplex_kernels.lora import Run, build_batch
from loraplex_kernels.lora.cpu import add_lora_cpu
from loraplex_kernels.lora.taped_step import TapedPlan, taped_batch
from loraplex_kernels.tape import Arena, record

pytestmark = pytest.mark.skipif(native.library() is None, reason=native.status())

STEPS = (
    [Run(0, 1, 1), Run(1, 1, 3)],
    [Run(2, 1, 5)],
    [Run(0, 1, 0, 0.5), Run(1, 1, 7, 2.0), Run(2, 1, 4), Run(0, 1, 4)],
    [Run(0, 3, 6)],
)


@pytest.mark.parametrize("magnitude", [False, True])
def test_a_recorded_launch_follows_the_steps(make_scene: Callable, magnitude: bool) -> None:
    scene = make_scene([Run(0, 1, 0)], 3, magnitudes=(magnitude,) * 8)
    plan, y = TapedPlan(), scene.y.clone()
    steps = [build_batch(sorted(runs, key=lambda run: run.slot), scene.batch.device, magnitude) for runs in STEPS]
    plan.load(steps[0].cpu_plan, scene.table)
    taped = taped_batch(plan, magnitude=magnitude)
    tape, _ = record(lambda: add_lora_cpu(y, scene.x, scene.group, taped, scene.table), Arena())
    for step in steps:
        y.copy_(scene.y)
        plan.load(step.cpu_plan, scene.table)
        tape.run()
        expected = scene.y.clone()
        add_lora_cpu(expected, scene.x, scene.group, step, scene.table)
        assert torch.equal(y, expected)
        assert not torch.equal(y, scene.y)


def test_a_taped_batch_is_refused_where_no_compiled_kernel_would_see_its_adapters(make_scene: Callable) -> None:
    scene = make_scene([Run(0, 1, 0)], 3)
    y, x = scene.y.half(), scene.x.half()
    with pytest.raises(TypeError, match="taped batch"):
        add_lora_cpu(y, x, scene.group, taped_batch(TapedPlan(), magnitude=False), scene.table)
