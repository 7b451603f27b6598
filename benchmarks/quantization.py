"""What each form of the base's weights costs in accuracy, on the bundled demo.

    python benchmarks/quantization.py [--device cuda] [--dtype bfloat16] [--count 100] [--forms int4 nf4]

A line a form: bytes a weight with all scales, the largest and the root mean square error of the layers' linears (both
over the root mean square of the weights), the perplexity of the right answers, and how many answers are right to the
letter. The base does a task when its system prompt names it; each adapter does its own without. Errors are those of the
form, whatever serves it; perplexity and answers are those of the kernels of the device.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from transformers import AutoTokenizer

from loraplex_adapters.catalog import Catalog
from loraplex_kernels.linear import Quantization
from loraplex_server.engine.build import build_engine
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.messages import AdapterUse, Delta, Failed, GenerateRequest, SamplingParams
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.load import load_model

DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo"
HEADS = ("form", "bytes", "largest", "rms", "base ppl", "adapters ppl", "base right", "adapters right")


@dataclass(frozen=True)
class Question:
    """A held-out example: asked of an adapter, or of the base, which is told the task."""

    adapter: str | None
    prompt: list[int]
    answer: list[int]  # with the token that ends it
    text: str


@dataclass(frozen=True)
class Errors:
    """Of the weights of all linears of the layers."""

    bytes_per_weight: float
    largest: float
    rms: float


@dataclass(frozen=True)
class Scores:
    """Of the base and of the adapters; perplexity and the share of right answers by adapter, None being the base."""

    perplexity: dict[str | None, float]
    right: dict[str | None, float]

    def of_adapters(self, scores: dict[str | None, float]) -> float:
        """Their mean."""
        found = [score for name, score in scores.items() if name is not None]
        return sum(found) / len(found)


def questions(count: int) -> list[Question]:
    """The first `count` held-out examples of each adapter, each asked of the adapter and of the base."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "base")
    found = []
    for adapter in json.loads((DEMO / "manifest.json").read_text(encoding="utf-8"))["adapters"]:
        lines = (DEMO / adapter["heldout"]["file"]).read_text(encoding="utf-8").splitlines()
        for example in map(json.loads, lines[:count]):
            for name in (None, adapter["name"]):
                told = [{"role": "system", "content": adapter["name"]}] if name is None else []
                chat = [*told, {"role": "user", "content": example["prompt"]}]
                prompt = tokenizer.apply_chat_template(
                    chat, add_generation_prompt=True, tokenize=True, return_dict=False
                )
                answer = tokenizer(example["answer"], add_special_tokens=False).input_ids
                found.append(Question(name, prompt, [*answer, tokenizer.eos_token_id], example["answer"]))
    return found


def weight_errors(exact: Decoder, rounded: Decoder) -> Errors:
    """What rounding did to the linears of the layers."""
    numbers = nbytes = 0
    largest = squares = error_squares = 0.0
    for linear in (linear for layer in rounded.layers for linear in layer.linears):
        nbytes += linear.weight.nbytes
        for site in linear.group.sites:
            weight = exact.site_weight(site).double()
            error = rounded.site_weight(site).double() - weight
            numbers += weight.numel()
            largest = max(largest, float(error.abs().max()))
            squares += float(weight.square().sum())
            error_squares += float(error.square().sum())
    scale = math.sqrt(squares / numbers)
    return Errors(nbytes / numbers, largest / scale, math.sqrt(error_squares / squares))


def scores(core: EngineCore, asked: Sequence[Question]) -> Scores:
    """How sure the model is of the right answers, and how often it gives them."""
    tokenizer, end = AutoTokenizer.from_pretrained(DEMO / "base"), asked[0].answer[-1]
    catalog = Catalog(DEMO / "adapters")
    requests = []
    for index, question in enumerate(asked):
        uses = () if question.adapter is None else (AdapterUse(catalog.resolve(question.adapter)),)
        known = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
        free = SamplingParams(max_tokens=64, temperature=0.0, stop_token_ids=(end,))
        for kind, tokens, sampling in (
            ("known", question.prompt + question.answer, known),
            ("free", question.prompt, free),
        ):
            requests.append(
                GenerateRequest(request_id=f"{index} {kind}", prompt_token_ids=tokens, sampling=sampling, adapters=uses)
            )
    deltas = _run(core, requests)
    sums: dict[str | None, list[float]] = defaultdict(list)
    right: dict[str | None, list[bool]] = defaultdict(list)
    for index, question in enumerate(asked):
        known = next(delta.started for delta in deltas[f"{index} known"] if delta.started is not None)
        answer = (known.prompt_logprobs or [])[len(question.prompt) :]
        sums[question.adapter] += [-token.logprob for token in answer if token is not None]
        said = [token for delta in deltas[f"{index} free"] for token in delta.token_ids]
        right[question.adapter].append(tokenizer.decode(said, skip_special_tokens=True) == question.text)
    return Scores(
        {name: math.exp(sum(each) / len(each)) for name, each in sums.items()},
        {name: sum(each) / len(each) for name, each in right.items()},
    )


def _run(core: EngineCore, requests: Iterable[GenerateRequest]) -> dict[str, list[Delta]]:
    deltas: dict[str, list[Delta]] = defaultdict(list)

    def take(events: Iterable[Any]) -> None:
        for event in events:
            if isinstance(event, Failed):
                raise RuntimeError(f"{event.request_id}: {event.message}")
            deltas[event.request_id].append(event)

    for request in requests:
        take(core.submit(request))
    while core.has_work:
        take(core.step())
    return deltas


def engine(form: str, device: str, dtype: str) -> EngineCore:
    """An engine of the demo."""
    config = EngineConfig(
        model=str(DEMO / "base"),
        device=device,
        dtype=dtype,
        quantization=form,
        kv_cache_memory=256 << 20,
        adapter_memory=64 << 20,
    )
    return build_engine(config, wake=lambda: None)[0]


def forms_of(device: str) -> list[str]:
    """Those that run there."""
    return [form for form in get_args(Quantization) if device == "cpu" or form != "int8"]


def measure(form: str, device: str, dtype: str, asked: Sequence[Question]) -> tuple[Errors, Scores]:
    """One line of the table."""
    options = {"device": torch.device(device), "dtype": getattr(torch, dtype)}
    exact = load_model(str(DEMO / "base"), quantization="none", **options | {"dtype": torch.float32})
    rounded = load_model(str(DEMO / "base"), quantization=form, **options)
    core = engine(form, device, dtype)
    try:
        return weight_errors(exact, rounded), scores(core, asked)
    finally:
        core.store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--count", type=int, default=100, help="held-out examples of each of the ten tasks")
    parser.add_argument("--forms", nargs="+", help="default: all that run on the device")
    options = parser.parse_args()
    asked = questions(options.count)
    print(f"{options.device}, {options.dtype}, {len(asked)} questions")
    print("".join(f"{head:>15}" for head in HEADS))
    for form in options.forms or forms_of(options.device):
        errors, found = measure(form, options.device, options.dtype, asked)
        cells = (
            f"{errors.bytes_per_weight:.3f}",
            f"{errors.largest:.4f}",
            f"{errors.rms:.4f}",
            f"{found.perplexity[None]:.4f}",
            f"{found.of_adapters(found.perplexity):.4f}",
            f"{found.right[None]:.1%}",
            f"{found.of_adapters(found.right):.1%}",
        )
        print("".join(f"{cell:>15}" for cell in (form, *cells)), flush=True)


if __name__ == "__main__":
    main()
