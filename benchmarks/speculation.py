"""What speculation by prompt lookup gains where answers repeat themselves, and what it costs where they do not.

    python benchmarks/speculation.py MODEL [--cases loops fresh misled] [--rows 1 4 16]
    python benchmarks/speculation.py examples/demo/base --adapters examples/demo/adapters --cases json --tokens 64

One engine, in turns with speculation and without, each answer computed anew. Cases for any model, such as one with
random weights:

- `loops`: greedy answers. A model with random weights soon runs in circles, which is copying, though by accident:
  nearly every draft is right. So it is the most that speculation can gain, and no estimate for any text.
- `fresh`: answers drawn from the whole vocabulary. Hardly two tokens come twice, so that there is nothing to propose.
- `misled`: answers drawn evenly from eight tokens. Any two of them came before, so that there is always a proposal, and
  it is nearly always wrong: the worst that can be.
- `json`: the demo's adapter that turns a sentence into JSON, whose answers repeat parts of the sentence. They are about
  25 tokens long, and a part of three is most of a name.

Medians; tokens a second include the prompts. `accepted` is a share of the draft tokens, `steps` of those without.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from loraplex_adapters.catalog import Catalog
from loraplex_server.bench.load.counts import positive
from loraplex_server.engine.build import build_engine
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.messages import AdapterUse, Delta, GenerateRequest, SamplingParams
from loraplex_server.engine.speculation.speculation import Speculation

PROMPT = 48
FEW = tuple(range(100, 108))


@dataclass(frozen=True)
class Run:
    """What became of one load."""

    seconds: float
    tokens: int
    steps: int
    accepted: float  # of the draft tokens
    drafted: float  # draft tokens an answer token
    answers: dict[str, tuple[int, ...]]


def loops(number: int, tokens: int, vocab: int) -> GenerateRequest:
    prompt = random.Random(number).choices(range(vocab), k=PROMPT)
    return _request(number, prompt, SamplingParams(max_tokens=tokens, temperature=0.0))


def fresh(number: int, tokens: int, vocab: int) -> GenerateRequest:
    prompt = random.Random(number).choices(range(vocab), k=PROMPT)
    return _request(number, prompt, SamplingParams(max_tokens=tokens, temperature=100.0, seed=number))


def misled(number: int, tokens: int, vocab: int) -> GenerateRequest:
    del vocab
    prompt = random.Random(number).choices(FEW, k=2 * PROMPT)
    biases = dict.fromkeys(FEW, 100.0)
    return _request(number, prompt, SamplingParams(max_tokens=tokens, temperature=8.0, seed=number, logit_bias=biases))


def _request(number: int, prompt: list[int], sampling: SamplingParams) -> GenerateRequest:
    return GenerateRequest(request_id=str(number), prompt_token_ids=prompt, sampling=sampling)


def demo_json(model: Path, adapters: Path) -> Callable[[int, int, int], GenerateRequest]:
    """The held-out sentences of the demo's task, for the adapter that learnt it."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    lines = (model.parent / "heldout" / "json.jsonl").read_text(encoding="utf-8").splitlines()
    adapter = AdapterUse(Catalog(adapters).resolve("json"))

    def make(number: int, tokens: int, vocab: int) -> GenerateRequest:
        del vocab
        asked = [{"role": "user", "content": json.loads(lines[number % len(lines)])["prompt"]}]
        prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=True, return_dict=False)
        sampling = SamplingParams(max_tokens=tokens, temperature=0.0, stop_token_ids=(tokenizer.eos_token_id,))
        return GenerateRequest(request_id=str(number), prompt_token_ids=prompt, sampling=sampling, adapters=(adapter,))

    return make


def answer(core: EngineCore, requests: Sequence[GenerateRequest], at_once: int, speculation: Speculation | None) -> Run:
    """All requests, so many at once, with speculation or without."""
    core.scheduler.speculation = speculation
    core.forget_history()
    waiting, answers = deque(requests), {each.request_id: list[int]() for each in requests}
    started = time.perf_counter()
    while waiting or core.has_work:
        while waiting and len(core.requests) < at_once:
            core.submit(waiting.popleft())
        for event in core.step():
            if isinstance(event, Delta):
                answers[event.request_id] += event.token_ids
    seconds = time.perf_counter() - started
    tokens, stats = sum(map(len, answers.values())), core.stats()
    return Run(
        seconds,
        tokens,
        len(stats.step_tokens),
        stats.drafts.accepted_total / max(stats.drafts.tokens_total, 1),
        stats.drafts.tokens_total / tokens,
        {name: tuple(each) for name, each in answers.items()},
    )


def line(case: str, rows: int, without: list[Run], drafting: list[Run]) -> str:
    """Of the medians."""
    plain, fast = (statistics.median(run.tokens / run.seconds for run in runs) for runs in (without, drafting))
    same = sum(drafting[0].answers[name] == tokens for name, tokens in without[0].answers.items())
    return (
        f"{case:8} {rows:4} {plain:12.1f} {fast:12.1f} {fast / plain:7.2f}x {drafting[0].accepted:9.0%} "
        f"{drafting[0].drafted:9.2f} {drafting[0].steps / without[0].steps:7.0%} {same:5}/{len(without[0].answers)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--cases", nargs="+", choices=("loops", "fresh", "misled", "json"), default=["loops", "fresh"])
    parser.add_argument("--rows", nargs="+", type=positive, default=[1, 4, 16])
    parser.add_argument("--tokens", type=positive, default=128, help="of an answer")
    parser.add_argument("--requests", type=positive, default=3, help="a row, one after the other")
    parser.add_argument("--draft", type=positive, default=EngineConfig(model="").speculation_tokens)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--adapters", type=Path)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quantization", default="auto")
    options = parser.parse_args()
    config = EngineConfig(
        model=str(options.model),
        device="cpu",
        dtype=options.dtype,
        quantization=options.quantization,
        max_num_seqs=max(options.rows),
        max_model_len=2 * PROMPT + options.tokens,
        enable_prefix_caching=False,
        speculation="ngram",
        speculation_tokens=options.draft,
    )
    core, info = build_engine(config, wake=lambda: None)
    speculation = core.scheduler.speculation
    if speculation is None:
        raise RuntimeError("the engine does not speculate")
    print(f"{info.dtype}, {info.quantization}; a first row costs as much as {speculation.spare_rows:.1f} more")
    print("case     rows  without, /s    with, /s    gain  accepted   drafted   steps   same answers")
    kinds = {"loops": loops, "fresh": fresh, "misled": misled}
    if options.adapters is not None:
        kinds["json"] = demo_json(options.model, options.adapters)
    for case in options.cases:
        for rows in options.rows:
            asked = [kinds[case](number, options.tokens, info.vocab_size) for number in range(rows * options.requests)]
            answer(core, asked[:rows], rows, speculation)  # tapes are recorded, adapters loaded
            without, drafting = list[Run](), list[Run]()
            for _ in range(options.repeats):
                without.append(answer(core, asked, rows, None))
                drafting.append(answer(core, asked, rows, speculation))
            print(line(case, rows, without, drafting), flush=True)


if __name__ == "__main__":
    main()
