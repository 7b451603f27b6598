"""The demo's own files: one mixed batch of all adapters, float32, against PEFT, token by token."""

from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from support.engines import make_engine, request, run
from support.oracle import greedy
from support.servers import DEMO
from transformers import AutoModelForCausalLM, AutoTokenizer

PER_ADAPTER = 2
MAX_TOKENS = 12


def prompts(name: str) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "base")
    lines = (DEMO / "heldout" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    messages = [[{"role": "user", "content": json.loads(line)["prompt"]}] for line in lines[:PER_ADAPTER]]
    return [
        tokenizer.apply_chat_template(each, add_generation_prompt=True, tokenize=True, return_dict=False)
        for each in messages
    ]


def test_all_demo_adapters_in_one_batch_match_peft() -> None:
    names = sorted(path.name for path in (DEMO / "adapters").iterdir())
    assert len(names) >= 8
    asked = {(name, i): tokens for name in names for i, tokens in enumerate(prompts(name))}
    core = make_engine(DEMO / "base", max_num_seqs=32, kv_cache_memory=64 << 20)
    outputs = run(
        core,
        [
            request(f"{name} {i}", tokens, [name], root=DEMO / "adapters", max_tokens=MAX_TOKENS)
            for (name, i), tokens in asked.items()
        ],
    )
    core.store.close()
    for name in names:
        base = AutoModelForCausalLM.from_pretrained(DEMO / "base", dtype=torch.float32)
        model = PeftModel.from_pretrained(base, DEMO / "adapters" / name).eval()
        for i in range(PER_ADAPTER):
            expected = greedy(model, asked[name, i], MAX_TOKENS)
            output = outputs[f"{name} {i}", 0]
            assert output.tokens == expected.tokens, name
            assert output.logprobs == pytest.approx(expected.logprobs, abs=1e-4), name
