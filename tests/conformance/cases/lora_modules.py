"""LoRA beyond the linears of the layers: biases, embeddings, the output layer, whole modules, single tokens."""

from __future__ import annotations

from pathlib import Path

from peft import LoraConfig, PeftConfig
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from conformance.case import Case, refused, served
from conformance.cases.lora import lora
from conformance.families import VOCAB, Family
from conformance.write import trained

TIED = ("qwen2", "gemma3")
BOTH = ("llama", *TIED)
ADDED = 5


def grow(model: PreTrainedModel) -> None:
    """Add tokens to the vocabulary, as one does before training new special tokens."""
    model.resize_token_embeddings(VOCAB + ADDED, mean_resizing=False)


def _dora_embedding(family: Family) -> LoraConfig:
    return lora(use_dora=True, target_modules=["embed_tokens", *family.attention])(family)


def write_classifier(model: PreTrainedModel, config: PeftConfig, folder: Path) -> None:
    """A classifier on the same decoder; PEFT saves its score head as a whole."""
    trained(AutoModelForSequenceClassification.from_pretrained(model.name_or_path), config).save_pretrained(folder)


def shrink(model: PreTrainedModel) -> None:
    """Take rows off that nobody uses, such as the padding of a vocabulary."""
    model.resize_token_embeddings(VOCAB - 8)


SHORT = [list(range(9, 20)), list(range(3, VOCAB - 8, 6))]
NEW = list(range(VOCAB, VOCAB + ADDED))
GROWN = {"prepare": grow, "vocab": VOCAB + ADDED}

CASES: tuple[Case, ...] = (
    served("LORA", "bias='lora_only'", lora(bias="lora_only"), "low rank, terms", families=("qwen2",)),
    served("LORA", "bias='all'", lora(bias="all"), "low rank, terms", families=("qwen2",)),
    served("LORA", "bias='all' on a model without biases", lora(bias="all")),
    served(
        "LORA",
        "bias='lora_only' with use_dora",
        lora(bias="lora_only", use_dora=True),
        "low rank, terms",
        families=("qwen2",),
    ),
    served("LORA", "lora_bias", lora(lora_bias=True), "low rank, terms", families=("llama", "qwen2", "phi3")),
    served("LORA", "lora_bias with use_rslora", lora(lora_bias=True, use_rslora=True), "low rank, terms"),
    served(
        "LORA",
        "lora_bias on lm_head",
        lora(lora_bias=True, target_modules=["q_proj", "lm_head"]),
        "low rank, terms",
    ),
    served("LORA", "target_modules with lm_head", lora(target_modules=["q_proj", "lm_head"]), families=BOTH),
    served(
        "LORA",
        "target_modules with lm_head, use_dora",
        lora(target_modules=["q_proj", "lm_head"], use_dora=True),
        families=("llama", "qwen2"),
    ),
    served(
        "LORA",
        "target_modules with embed_tokens",
        lora(target_modules=["q_proj", "embed_tokens"]),
        "low rank, terms",
        families=BOTH,
    ),
    served("LORA", "target_modules with embed_tokens alone", lora(target_modules=["embed_tokens"]), "terms"),
    served(
        "LORA",
        "target_modules with embed_tokens and lm_head",
        lora(target_modules=["v_proj", "embed_tokens", "lm_head"], use_rslora=True),
        "low rank, terms",
        families=BOTH,
    ),
    served(
        "LORA",
        "target_modules with embed_tokens, use_dora",
        _dora_embedding,
        "low rank, terms",
        families=("llama", "gemma3"),
    ),
    served(
        "LORA",
        "ensure_weight_tying with target_modules embed_tokens",
        lora(target_modules=["v_proj", "embed_tokens"], ensure_weight_tying=True),
        "low rank, terms",
        families=TIED,
    ),
    served(
        "LORA",
        "ensure_weight_tying with target_modules embed_tokens and lm_head",
        lora(target_modules=["v_proj", "embed_tokens", "lm_head"], ensure_weight_tying=True),
        "low rank, terms",
        families=TIED,
    ),
    served("LORA", "modules_to_save=['lm_head']", lora(modules_to_save=["lm_head"]), "low rank, terms", families=BOTH),
    served(
        "LORA",
        "modules_to_save=['embed_tokens']",
        lora(modules_to_save=["embed_tokens"]),
        "low rank, terms",
        families=BOTH,
    ),
    served(
        "LORA",
        "modules_to_save=['embed_tokens', 'lm_head']",
        lora(modules_to_save=["embed_tokens", "lm_head"]),
        "low rank, terms",
        families=BOTH,
    ),
    served(
        "LORA",
        "ensure_weight_tying with modules_to_save=['embed_tokens']",
        lora(modules_to_save=["embed_tokens"], ensure_weight_tying=True),
        "low rank, terms",
        families=TIED,
    ),
    served(
        "LORA",
        "ensure_weight_tying with modules_to_save=['lm_head']",
        lora(modules_to_save=["lm_head"], ensure_weight_tying=True),
        "low rank, terms",
        families=TIED,
    ),
    served(
        "LORA",
        "modules_to_save: norms",
        lora(modules_to_save=["input_layernorm", "post_attention_layernorm", "norm"]),
        "low rank, terms",
        families=("llama", "phi3", "gemma2"),
    ),
    served(
        "LORA",
        "modules_to_save: norms over heads",
        lora(modules_to_save=["q_norm", "k_norm"]),
        "low rank, terms",
        families=("qwen3", "gemma3"),
    ),
    served(
        "LORA",
        "modules_to_save: a linear with its bias",
        lora(target_modules=["v_proj"], modules_to_save=["k_proj"]),
        "low rank, terms",
        families=("llama", "qwen2"),
    ),
    served(
        "LORA",
        "modules_to_save: a packed linear",
        lora(target_modules=["o_proj"], modules_to_save=["qkv_proj"]),
        "low rank, terms",
        families=("phi3",),
    ),
    served(
        "LORA",
        "modules_to_save: a linear of one layer",
        lora(target_modules=["v_proj"], modules_to_save=["model.layers.1.mlp.down_proj"]),
        "low rank, terms",
    ),
    served(
        "LORA",
        "trainable_token_indices: a list",
        lora(trainable_token_indices=[5, 3, 9]),
        "low rank, terms",
        families=BOTH,
    ),
    served(
        "LORA",
        "trainable_token_indices: a dict",
        lora(trainable_token_indices={"embed_tokens": [3, 9], "lm_head": [3, 12, 40]}),
        "low rank, terms",
    ),
    served(
        "LORA",
        "trainable_token_indices of lm_head alone",
        lora(trainable_token_indices={"lm_head": [3, 12, 40]}),
        "low rank, terms",
    ),
    served(
        "LORA",
        "trainable_token_indices with ensure_weight_tying",
        lora(trainable_token_indices=[5, 3, 9], ensure_weight_tying=True),
        "low rank, terms",
        families=TIED,
    ),
    served(
        "LORA", "added tokens, embeddings saved with the adapter", lora(), "low rank, terms", families=BOTH, **GROWN
    ),
    served(
        "LORA",
        "added tokens with modules_to_save=['embed_tokens', 'lm_head']",
        lora(modules_to_save=["embed_tokens", "lm_head"]),
        "low rank, terms",
        families=BOTH,
        **GROWN,
    ),
    served(
        "LORA",
        "added tokens with trainable_token_indices",
        lora(trainable_token_indices=NEW),
        "low rank, terms",
        families=BOTH,
        **GROWN,
    ),
    served(
        "LORA",
        "added tokens with target_modules embed_tokens and lm_head",
        lora(target_modules=["v_proj", "embed_tokens", "lm_head"]),
        "low rank, terms",
        families=("llama",),
        **GROWN,
    ),
    served(
        "LORA",
        "tokens taken away, embeddings saved with the adapter",
        lora(),
        "low rank, terms",
        families=BOTH,
        prepare=shrink,
        prompts=SHORT,
    ),
    served(
        "LORA",
        "modules_to_save=['lm_head'], use_dora",
        lora(modules_to_save=["lm_head"], use_dora=True),
        "low rank, terms",
        families=("qwen2",),
    ),
    served(
        "LORA",
        "modules_to_save: linears that target_modules selects too",
        lora(target_modules="all-linear", modules_to_save=["v_proj", "down_proj"]),
        "low rank, terms",
        families=("llama", "qwen2"),
    ),
    served(
        "LORA",
        "modules_to_save=['mlp'], a block of linears",
        lora(target_modules=["o_proj"], modules_to_save=["mlp"]),
        "low rank, terms",
        families=("llama", "phi3"),
    ),
    served(
        "LORA",
        "rank_pattern and alpha_pattern of embed_tokens and lm_head",
        lora(
            target_modules=["v_proj", "embed_tokens", "lm_head"],
            rank_pattern={"embed_tokens": 3, "lm_head": 7},
            alpha_pattern={"embed_tokens": 5, "lm_head": 2},
        ),
        "low rank, terms",
        families=BOTH,
    ),
    served(
        "LORA",
        "target_modules: a regex with embed_tokens and lm_head",
        lora(target_modules=r"(model\.embed_tokens|lm_head|.*\.1\..*o_proj)"),
        "low rank, terms",
    ),
    served(
        "LORA",
        "trainable_token_indices with target_modules lm_head",
        lora(target_modules=["v_proj", "lm_head"], trainable_token_indices=[5, 3, 9]),
        "low rank, terms",
        families=BOTH,
    ),
    served(
        "LORA",
        "trainable_token_indices with modules_to_save=['lm_head']",
        lora(modules_to_save=["lm_head"], trainable_token_indices=[5, 3, 9]),
        "low rank, terms",
    ),
    refused(
        "LORA",
        "task_type='SEQ_CLS' with its score head",
        lora(task_type="SEQ_CLS"),
        "score",
        write=write_classifier,
    ),
)
