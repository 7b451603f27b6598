"""What the demo's figures rest on: no exam leaks into training, and packed conversations do not see each other."""

from __future__ import annotations

import json
import sys
from itertools import chain, repeat
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))  # The training code is a script's, not part of the distribution.

from training.conversation import IGNORED, conversation  # noqa: E402
from training.rows import batches  # noqa: E402
from training.task import Example, Task  # noqa: E402
from training.tasks import TASKS  # noqa: E402

each_task = pytest.mark.parametrize("task", TASKS, ids=[task.name for task in TASKS])


@each_task
def test_training_never_draws_an_exam_prompt(task: Task) -> None:
    lines = (EXAMPLES / "demo" / "heldout" / f"{task.name}.jsonl").read_text().splitlines()
    exam = {json.loads(line)["prompt"] for line in lines}
    assert all(task.held_out(prompt) for prompt in exam)
    rng = Random(1)
    assert not exam & {task.train(rng).prompt for _ in range(3000)}


@each_task
def test_an_exam_is_the_same_each_time(task: Task) -> None:
    assert task.exam(20, seed=0) == task.exam(20, seed=0) != task.exam(20, seed=1)


def test_an_exam_larger_than_the_task_is_refused() -> None:
    lonely = Task("lonely", "has one prompt", lambda rng: Example("a", "b"), held_out=lambda prompt: True)
    with pytest.raises(ValueError, match="'lonely' has fewer than 2 held-out prompts"):
        lonely.exam(2, seed=0)


def test_packed_conversations_do_not_see_each_other() -> None:
    tokenizer = AutoTokenizer.from_pretrained(EXAMPLES / "demo" / "base")
    model = AutoModelForCausalLM.from_pretrained(EXAMPLES / "demo" / "base", dtype=torch.float32).eval()
    first, second = (conversation(tokenizer, Example(*pair)) for pair in (("47", "forty-seven"), ("stone", "enots")))
    rows = next(batches(chain([first], repeat(second)), rows=2))
    with torch.inference_mode():
        packed = model(input_ids=rows.input_ids, position_ids=rows.position_ids, use_cache=False).logits
        alone = model(input_ids=torch.tensor([second.ids])).logits[0]
    begin = len(first.ids)
    torch.testing.assert_close(packed[0, begin : begin + len(second.ids)], alone, rtol=1e-4, atol=1e-4)
    assert rows.labels[0, begin : begin + len(second.ids)].tolist() == second.labels
    assert second.labels.count(IGNORED) == len(second.ids) - len("enots") - 1
