"""What rounding adapters to int8 costs: the demo's held-out prompts, answered with adapters as they are and rounded."""

from __future__ import annotations

import json
from functools import cache

import pytest
from support.engines import Output, make_engine, request, run
from support.servers import DEMO
from transformers import AutoTokenizer, PreTrainedTokenizerFast

PER_ADAPTER = 5  # with all 100 of each, float32: 1000 of 1000 right either way, and the largest difference is 0.0061
LARGEST_DIFFERENCE = 0.02  # of the logprob of a token of an answer

NAMES = sorted(path.name for path in (DEMO / "adapters").iterdir())
EXAMPLES = {
    (name, number): json.loads(line)
    for name in NAMES
    for number, line in enumerate(
        (DEMO / "heldout" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[:PER_ADAPTER]
    )
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(DEMO / "base")


@pytest.fixture(scope="module")
def answered(tokenizer):
    """`answered(adapter_dtype)`: every answer, and the bytes that the adapters took."""

    @cache
    def answered(adapter_dtype: str) -> tuple[dict[tuple[str, int], Output], int]:
        requests = []
        for (name, number), example in EXAMPLES.items():
            messages = [{"role": "user", "content": example["prompt"]}]
            prompt = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=False
            )
            stop = (tokenizer.eos_token_id,)
            requests.append(
                request(f"{name}/{number}", prompt, [name], root=DEMO / "adapters", max_tokens=64, stop_token_ids=stop)
            )
        core = make_engine(DEMO / "base", max_num_seqs=32, kv_cache_memory=64 << 20, adapter_dtype=adapter_dtype)
        outputs = run(core, requests)
        nbytes = core.store.stats().resident_bytes
        core.store.close()
        return {example: outputs["{}/{}".format(*example), 0] for example in EXAMPLES}, nbytes

    return answered


def test_int8_adapters_answer_the_held_out_prompts_as_the_float_ones_do(answered, tokenizer) -> None:
    right = {
        dtype: {
            example
            for example, output in answered(dtype)[0].items()
            if tokenizer.decode(output.tokens, skip_special_tokens=True) == EXAMPLES[example]["answer"]
        }
        for dtype in ("auto", "int8")
    }
    assert len(right["auto"]) > 0.9 * len(EXAMPLES)
    assert len(right["int8"]) >= len(right["auto"]) - 1


def test_the_logprobs_of_the_answers_hardly_move_and_do_move(answered) -> None:
    floats, rounded = answered("auto")[0], answered("int8")[0]
    differences = [
        abs(before - after)
        for example in EXAMPLES
        if floats[example].tokens == rounded[example].tokens
        for before, after in zip(floats[example].logprobs, rounded[example].logprobs, strict=True)
    ]
    assert 1e-6 < max(differences) < LARGEST_DIFFERENCE  # not 0: it was int8 that answered


def test_they_take_about_a_quarter_of_float32s_bytes(answered) -> None:
    assert answered("int8")[1] < 0.3 * answered("auto")[1]
