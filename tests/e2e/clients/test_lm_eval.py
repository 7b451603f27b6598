"""A task scored by lm-eval over HTTP has the score that it has with PEFT."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers
from support.servers import DEMO, Server, serving

TASK = Path(__file__).parent / "programs" / "demo_sentiment.yaml"
ADAPTER = "sentiment"
EXAMPLES = 60


@pytest.fixture
def exact(tmp_path: Path) -> Iterator[Server]:
    """The demo without rounding, for scores that are compared to thousandths."""
    with serving(["demo", "--dtype", "float32"], tmp_path / "log") as server:
        yield server


@pytest.fixture
def samples(exact: Server, command: Callable[..., str], tmp_path: Path) -> list[dict[str, Any]]:
    """What lm-eval asked and got, one for each example."""
    task = TASK.read_text(encoding="utf-8")
    (tmp_path / "task.yaml").write_text(task.replace("DATA", str(DEMO / "heldout" / "sentiment.jsonl")), "utf-8")
    served = f"model={ADAPTER},base_url={exact.url}/v1/completions,tokenizer={DEMO / 'base'},num_concurrent=8"
    asked = ["--model", "local-completions", "--model_args", served, "--tasks", "demo_sentiment"]
    where = ["--include_path", str(tmp_path), "--output_path", str(tmp_path / "out"), "--log_samples"]
    command("lm-eval", ["lm_eval", "run", *asked, *where, "--limit", str(EXAMPLES)], tmp_path)
    (found,) = (tmp_path / "out").rglob("samples_*.jsonl")
    return [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()]


def _loglikelihood(model: Any, tokenizer: Any, context: str, continuation: str) -> float:
    ids = tokenizer.encode(context + continuation, add_special_tokens=False)
    first = len(tokenizer.encode(context, add_special_tokens=False))
    with torch.inference_mode():
        logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(logprobs[position - 1, ids[position]]) for position in range(first, len(ids)))


def test_the_score_is_pefts(samples: list[dict[str, Any]]) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(DEMO / "base")
    base = transformers.AutoModelForCausalLM.from_pretrained(DEMO / "base", dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, DEMO / "adapters" / ADAPTER).eval()
    right = []
    for sample in samples:
        asked = [list(arguments.values()) for arguments in sample["arguments"].values()]
        ours = [float(answer[0]) for answer, *_ in sample["resps"]]
        theirs = [_loglikelihood(model, tokenizer, *each) for each in asked]
        assert ours == pytest.approx(theirs, abs=2e-3)
        right.append(asked[theirs.index(max(theirs))][1] == sample["target"])
    assert len(samples) == EXAMPLES
    assert sum(sample["acc"] for sample in samples) == sum(right) > EXAMPLES * 0.9
