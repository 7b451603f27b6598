"""Adapters in all their kinds: a small random model of each family, LoRA on it by PEFT, files that tests can damage."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    Phi3Config,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)

from loraplex_adapters.base import BaseShape, EmbeddingShape
from loraplex_adapters.fingerprint import CONFIG_FILE, TENSOR_FILE
from loraplex_adapters.site import Site
from loraplex_adapters.source import AdapterSource

SHAPE: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=False),
    "qwen2": Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "phi3": Phi3Config(**SHAPE, tie_word_embeddings=False),
    "gemma3": Gemma3TextConfig(**SHAPE, head_dim=8),
}


@dataclass(frozen=True)
class Base:
    """A base model, and what the store sees of it: `BaseWeights`."""

    model: nn.Module
    shape: BaseShape
    served: Callable[[Tensor], Tensor] = lambda weight: weight  # how a linear's weight is served

    @property
    def sites(self) -> tuple[Site, ...]:
        return self.shape.sites

    def site(self, name: str) -> Site:
        return self.shape.site_by_name[name]

    def site_weight(self, index: int) -> Tensor:
        return self.served(self.model.get_submodule(self.sites[index].name).weight.data)

    def site_bias(self, index: int) -> Tensor | None:
        bias = self.model.get_submodule(self.sites[index].name).bias
        return None if bias is None else bias.data

    def norm_weight(self, name: str) -> Tensor:
        return self.model.get_submodule(name).weight.data

    def embedding_rows(self, first: int, last: int) -> Tensor:
        return self.model.get_input_embeddings().weight.data[first:last]

    def original(self, name: str) -> Tensor:
        return self.model.get_submodule(name).weight.data


def make_base(family: str) -> Base:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[family], dtype=torch.float32).eval()
    return Base(model, shape_of(model))


def shape_of(model: PreTrainedModel) -> BaseShape:
    """What adapters can bind to, read off the modules of transformers."""
    config, table = model.config, model.get_input_embeddings()
    linears = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return BaseShape(
        sites=tuple(Site(i, name, m.in_features, m.out_features) for i, (name, m) in enumerate(linears)),
        biased=frozenset(i for i, (_, module) in enumerate(linears) if module.bias is not None),
        norms={name: m.weight.numel() for name, m in model.named_modules() if name.endswith("norm")},
        embedding=EmbeddingShape(
            "model.embed_tokens", *table.weight.shape, scale=float(getattr(table, "embed_scale", 1.0))
        ),
        tied=model.lm_head.weight is table.weight,
        num_layers=config.num_hidden_layers,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
    )


@dataclass(frozen=True)
class Written:
    """An adapter as PEFT holds it, and the folder it was saved in."""

    peft: PeftModel
    folder: Path

    @property
    def source(self) -> AdapterSource:
        return AdapterSource(name=self.folder.name, path=str(self.folder), fingerprint="as asked")

    def edit_config(self, **changes: Any) -> None:
        """Rewrite the config with these keys; None writes a null."""
        path = self.folder / CONFIG_FILE
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def edit_tensors(self, edit: Callable[[dict[str, Tensor]], None]) -> None:
        """Rewrite the tensors after `edit` changed them in place."""
        path = self.folder / TENSOR_FILE
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
        edit(tensors)
        save_file(tensors, path)


Write = Callable[..., Written]


def write_adapter(root: Path, name: str, *, family: str = "llama", seed: int = 0, **options: Any) -> Written:
    """All that PEFT trained is moved: it starts with B = 0, which would hide a B that was never read."""
    options = copy.deepcopy({"target_modules": ["q_proj", "v_proj"], **options})  # PEFT edits its lists where it ties
    base = make_base(family)
    torch.manual_seed(seed)
    with warnings.catch_warnings():  # of options that it takes all the same
        warnings.simplefilter("ignore", UserWarning)
        peft = get_peft_model(base.model, LoraConfig(task_type="CAUSAL_LM", **options)).eval()
        scatter(peft)
        peft.save_pretrained(root / name)
    return Written(peft, root / name)


def read_again(written: Written, model: nn.Module) -> Written:
    """As PEFT reads the files: what counts is not what was trained, but what comes of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return Written(PeftModel.from_pretrained(model, written.folder).eval(), written.folder)


@torch.no_grad()
def scatter(peft: PeftModel) -> None:
    """Random weights wherever training would have changed them."""
    for key, parameter in peft.named_parameters():
        if ".lora_A." in key or ".lora_B." in key or ".lora_embedding_" in key:
            nn.init.normal_(parameter, std=0.3)
        elif "lora_magnitude" in key:
            parameter *= 1 + 0.2 * torch.rand_like(parameter)
        elif parameter.requires_grad:  # whole modules, tokens, biases
            parameter += 0.3 * torch.randn_like(parameter)
