"""A base of each family with adapters of every kind for it, in files, and what PEFT answers with each of them."""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    IA3Config,
    LoraConfig,
    OFTConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
)
from transformers import (
    Gemma3TextConfig,
    LlamaConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.messages import GenerateRequest
from support import engines
from support.checkpoints import VOCAB, load_base, write_base
from support.oracle import Answer, greedy
from support.tiny import tiny

SHAPE = tiny(VOCAB, layers=2, spread=0.3)
GEMMA: dict[str, Any] = {
    **SHAPE,
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": 6,
    "sliding_window_pattern": 2,
    "final_logit_softcapping": 4.0,
    "initializer_range": 0.1,  # at 0.3 its large vectors would leave one token all of the probability
}
FAMILIES: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=False),
    "qwen2": Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=False),
    "gemma3": Gemma3TextConfig(**GEMMA),
    "phi3": Phi3Config(**SHAPE, tie_word_embeddings=False),
}
one_family = pytest.mark.parametrize("world", ["llama"], indirect=True)
# Of what merging could not do; nothing is merged here.
PEFT_MAY_WARN = [
    pytest.mark.filterwarnings("ignore::peft.utils.warning.PeftWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning"),
]
INVOCATION = [41, 7, 9]
TOKENS = 6  # of each answer
ADDED = 5
RESIZED = {"larger": ADDED, "smaller": -20}  # kinds with a vocabulary of their own: by how many tokens


def kinds(family: str) -> dict[str, PeftConfig]:
    config = FAMILIES[family]
    v, up = ("qkv_proj", "gate_up_proj") if family == "phi3" else ("v_proj", "up_proj")
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = config.num_key_value_heads

    def lora(**options: Any) -> LoraConfig:
        return LoraConfig(task_type="CAUSAL_LM", **({"r": 4, "target_modules": [v, "down_proj"]} | options))

    return {
        "plain": lora(),
        "lora-bias": lora(lora_bias=True),
        "trained-biases": lora(bias="all"),
        "ia3": IA3Config(
            task_type="CAUSAL_LM", target_modules=[v, "o_proj", "down_proj"], feedforward_modules=["down_proj"]
        ),
        "oft": OFTConfig(task_type="CAUSAL_LM", target_modules=[v, up, "down_proj"], oft_block_size=8),
        "shared-oft": OFTConfig(task_type="CAUSAL_LM", target_modules=[v], oft_block_size=4, block_share=True),
        "norms": lora(modules_to_save=["norm"]),
        "head": lora(modules_to_save=["lm_head"]),
        "linear": lora(target_modules=[v], modules_to_save=["down_proj"]),
        "embedding": lora(target_modules=["embed_tokens", v]),
        "saved-embedding": lora(modules_to_save=["embed_tokens"]),
        "tokens": lora(trainable_token_indices=[50, 3, 7, 260]),
        "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
        "prefix": PrefixTuningConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=5, num_attention_heads=heads, token_dim=heads * head_dim
        ),
        "activated": lora(alora_invocation_tokens=INVOCATION),
        "not-invoked": lora(alora_invocation_tokens=[300, 301]),
        **{kind: lora(modules_to_save=["embed_tokens", "lm_head"]) for kind in RESIZED},
    }


def randomized(peft: PeftModel, seed: int) -> PeftModel:
    """PEFT begins with weights that change nothing, which would hide what is not applied."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in peft.named_parameters():
        if not parameter.requires_grad:
            continue
        noise = torch.randn(parameter.shape, generator=generator)
        if "prompt_encoder" in name:
            parameter.data = noise
        elif "oft_R" in name:
            parameter.data = 0.3 * noise
        elif "lora_" in name:
            parameter.data = 0.15 * noise
        else:
            parameter.data += 0.2 * noise
    return peft.eval()


def prompt(kind: str, length: int = 11) -> list[int]:
    tokens = random.Random(kind).choices(range(3, VOCAB + min(RESIZED.get(kind, 0), 0)), k=length)
    if kind == "activated":
        tokens[1:4] = tokens[6:9] = INVOCATION  # the last occurrence counts
    if kind == "larger":
        tokens[2] = VOCAB + 1
    if kind == "tokens":
        tokens[3:5] = [7, 260]
    return tokens


@dataclass(frozen=True)
class World:
    """A base and adapters on disk, PEFT's models, and what they answer to the prompt of their kind."""

    folder: Path
    oracles: dict[str, torch.nn.Module]
    answers: dict[str, Answer]

    @property
    def base(self) -> Path:
        return self.folder / "base"

    def engine(self, **options: Any) -> EngineCore:
        return engines.make_engine(self.base, **options)

    def request(self, name: str, adapters: list[tuple[str, float]] | None = None, **options: Any) -> GenerateRequest:
        """A greedy request with logprobs, on the adapter of that name unless told otherwise."""
        if adapters is None:
            adapters = [] if name == "base" else [(name, 1.0)]
        tokens = options.pop("tokens", None) or prompt(name)
        return engines.request(
            name, tokens, adapters, root=self.folder / "adapters", **({"max_tokens": TOKENS} | options)
        )


def make_world(folder: Path, family: str) -> World:
    """Written to the folder."""
    base = load_base(write_base(folder / "base", FAMILIES[family]))
    oracles: dict[str, torch.nn.Module] = {"base": base}
    for seed, (kind, config) in enumerate(kinds(family).items()):
        model = deepcopy(base)
        if kind in RESIZED:
            model.resize_token_embeddings(VOCAB + RESIZED[kind], mean_resizing=False)
        torch.manual_seed(seed)
        oracles[kind] = peft = randomized(get_peft_model(model, config), seed)
        peft.save_pretrained(folder / "adapters" / kind, save_embedding_layers=False)
    answers = {kind: greedy(oracle, prompt(kind), TOKENS) for kind, oracle in oracles.items()}
    return World(folder, oracles, answers)


def matches(output: engines.Output, answer: Answer, kind: str) -> None:
    """An engine's answer is PEFT's."""
    assert output.failure is None, (kind, output.failure)
    assert output.tokens == answer.tokens, kind
    assert output.logprobs == pytest.approx(answer.logprobs, abs=1e-4), kind
