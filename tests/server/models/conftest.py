"""Tiny checkpoints of every family, transformers' own answers for them, and a decoder run over a paged cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from loraplex_kernels.attention import Span, allocate, build_batch
from loraplex_server.bench.limits.threads import computing_with
from loraplex_server.models.adapter_step import AdapterStep
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.load import load_model

CPU = torch.device("cpu")

TINY: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 64,
    "intermediate_size": 88,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 1000.0, "factor": 4.0, "original_max_position_embeddings": 16}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1000.0,
    "partial_rotary_factor": 0.75,
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
    "long_factor": [2.0, 2.5, 3.0, 3.5, 4.0, 5.0],
}
GEMMA_ROPES = {
    "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
}


@dataclass(frozen=True)
class Case:
    """A config to test, and the longest sequence to serve with it."""

    name: str
    config: Callable[..., PreTrainedConfig]
    changes: dict[str, Any] = field(default_factory=dict)
    max_model_len: int | None = None

    def build(self) -> PreTrainedConfig:
        return self.config(**(TINY | self.changes))


CASES = [
    Case("llama", LlamaConfig),
    Case("llama-tied", LlamaConfig, {"tie_word_embeddings": True}),
    Case("llama-biases", LlamaConfig, {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}),
    Case("llama-wide-heads", LlamaConfig, {"head_dim": 24, "num_key_value_heads": 1}),
    Case("llama-linear", LlamaConfig, {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 99.0}}),
    Case("llama-llama3", LlamaConfig, {"rope_parameters": LLAMA3}),
    Case("llama-yarn", LlamaConfig, {"rope_parameters": YARN}),
    Case("mistral-window", MistralConfig, {"sliding_window": 6}),
    Case("mistral-full", MistralConfig, {"sliding_window": None, "head_dim": 20}),
    Case("qwen2", Qwen2Config, {"tie_word_embeddings": True}),
    Case("qwen2-window", Qwen2Config, {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1}),
    Case("qwen3", Qwen3Config, {"head_dim": 24}),
    Case("qwen3-bias", Qwen3Config, {"head_dim": 16, "attention_bias": True, "tie_word_embeddings": True}),
    Case("gemma2", Gemma2Config, {"head_dim": 24, "sliding_window": 6, "query_pre_attn_scalar": 40}),
    Case(
        "gemma3",
        Gemma3TextConfig,
        {
            "head_dim": 24,
            "sliding_window": 6,
            "sliding_window_pattern": 2,
            "num_hidden_layers": 4,
            "query_pre_attn_scalar": 40,
            "rope_parameters": GEMMA_ROPES,
        },
    ),
    Case("gemma3-untied", Gemma3TextConfig, {"head_dim": 16, "tie_word_embeddings": False, "sliding_window": 7}),
    Case("phi3", Phi3Config, {"sliding_window": 9}),
    Case(
        "phi3-longrope-short",
        Phi3Config,
        {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32},
        max_model_len=32,
    ),
    # Every sequence of the tests is longer than the original limit, so transformers uses the long factors too.
    Case("phi3-longrope-long", Phi3Config, {"rope_parameters": LONGROPE, "original_max_position_embeddings": 8}),
]


@dataclass(frozen=True)
class Oracle:
    """A checkpoint on disk, and the transformers model that wrote it."""

    folder: Path
    model: Any
    max_model_len: int | None

    def load(self, quantization: str = "none", dtype: torch.dtype = torch.float32, **changes: Any) -> Decoder:
        settings = {"quantization": quantization, "dtype": dtype, "max_model_len": self.max_model_len, "device": CPU}
        return load_model(str(self.folder), **(settings | changes))

    @torch.inference_mode()
    def logits(self, sequence: Sequence[int]) -> Tensor:
        """float32 `[tokens, vocab]`."""
        logits: Tensor = self.model(torch.tensor([sequence])).logits[0]
        return logits


@torch.no_grad()
def randomize(model: torch.nn.Module, seed: int = 0) -> None:
    """Weights large enough that every part of the model shows in the logits, norms and biases included."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            parameter.add_(0.3 * noise)
        else:
            parameter.copy_(noise * (0.3 if parameter.dim() == 1 else 1.5 * parameter.shape[1] ** -0.5))


def make(config: PreTrainedConfig, folder: Path, max_shard_size: str = "1GB") -> Any:
    """A random model of this config, saved as transformers saves; its attention is the one that spells out softcaps."""
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    randomize(model)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    return model


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """At these sizes threads do nothing but wait for each other: on a busy machine ten times as long."""
    with computing_with(1):
        yield


@pytest.fixture(scope="session", params=CASES, ids=lambda case: case.name)
def oracle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    case: Case = request.param
    folder = tmp_path_factory.mktemp(case.name)
    return Oracle(folder, make(case.build(), folder), case.max_model_len)


@pytest.fixture
def tiny() -> Callable[..., Any]:
    """A tiny config's fields with changes: `LlamaConfig(**tiny(head_dim=24))`."""
    return lambda **changes: TINY | changes


@pytest.fixture
def make_oracle(tmp_path: Path) -> Callable[..., Oracle]:
    """An oracle for one test alone: `make_oracle(LlamaConfig, max_shard_size="20KB", tie_word_embeddings=True)`."""

    def build(config: Callable[..., PreTrainedConfig], max_shard_size: str = "1GB", **changes: Any) -> Oracle:
        return Oracle(tmp_path, make(config(**(TINY | changes)), tmp_path, max_shard_size), None)

    return build


class Paged:
    """Sequences that a decoder works on, their cache in blocks handed out in no order at all."""

    BLOCK_SIZE = 4

    def __init__(self, decoder: Decoder, sequences: Sequence[Sequence[int]]) -> None:
        config = decoder.config
        needed = [-(-len(sequence) // self.BLOCK_SIZE) for sequence in sequences]
        blocks = iter(torch.randperm(sum(needed) + 3, generator=torch.Generator().manual_seed(1)).tolist())
        self.decoder = decoder
        self.sequences = sequences
        self.tables = [[next(blocks) for _ in range(count)] for count in needed]
        self.done = [0] * len(sequences)
        self.cache = allocate(
            config.num_layers,
            sum(needed) + 3,
            config.num_kv_heads,
            self.BLOCK_SIZE,
            config.head_dim,
            decoder.embedding.dtype,
            CPU,
        )
        for layer in self.cache:  # what nobody wrote must not be read
            layer.k.fill_(float("nan"))
            layer.v.fill_(float("nan"))

    def step(self, counts: Sequence[int], adapters: AdapterStep | None = None) -> list[Tensor]:
        """Run the next `counts[i]` tokens of each sequence; their logits, `[counts[i], vocab]` each."""
        busy = [index for index, count in enumerate(counts) if count]
        spans, tokens = [], []
        for index in busy:
            start, count = self.done[index], counts[index]
            spans.append(Span(count, start + count, self.tables[index]))
            tokens += self.sequences[index][start : start + count]
            self.done[index] += count
        batch = build_batch(spans, self.BLOCK_SIZE, CPU)
        hidden = self.decoder.forward(torch.tensor(tokens), batch, self.cache, adapters)
        logits = iter(self.decoder.logits(hidden, adapters).split([counts[index] for index in busy]))
        vocab_size = self.decoder.config.vocab_size
        return [next(logits) if count else torch.empty(0, vocab_size) for count in counts]

    def run(self, sizes: Iterator[int]) -> list[Tensor]:
        """Run all sequences to their ends in chunks of these sizes; all logits of each, `[tokens, vocab]`."""
        parts: list[list[Tensor]] = [[] for _ in self.sequences]
        while any(self._left(index) for index in range(len(self.sequences))):
            counts = [min(next(sizes), self._left(index)) for index in range(len(self.sequences))]
            for part, logits in zip(parts, self.step(counts), strict=True):
                part.append(logits)
        return [torch.cat(part) for part in parts]

    def _left(self, index: int) -> int:
        return len(self.sequences[index]) - self.done[index]


@pytest.fixture
def paged() -> type[Paged]:
    return Paged


@pytest.fixture
def sequences() -> list[list[int]]:
    """Three, of lengths that fill no block evenly, all longer than every window and LongRoPE limit of the cases."""
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(0, TINY["vocab_size"], (length,), generator=generator).tolist() for length in (21, 11, 14)]
