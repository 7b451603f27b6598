"""Methods that scale, turn or replace small parts of a module."""

from __future__ import annotations

from peft import BeftConfig, IA3Config, LNTuningConfig, OFTConfig, TrainableTokensConfig

from conformance.case import Case, refused, served
from conformance.cases.lora_modules import ADDED, BOTH, GROWN, NEW, TIED
from conformance.cases.methods import THREE, on_some
from conformance.edit import without
from conformance.families import Family


def _fed(family: Family) -> IA3Config:
    return IA3Config(
        task_type="CAUSAL_LM", target_modules=family.some, feedforward_modules=[family.down, family.output]
    )


def _unfed(family: Family) -> IA3Config:
    return IA3Config(task_type="CAUSAL_LM", target_modules=[family.attention[0], family.down], feedforward_modules=[])


def _oft(**options: object):
    return on_some(OFTConfig, **({"oft_block_size": 8} | options))


CASES: tuple[Case, ...] = (
    served("IA3", "feedforward_modules", _fed, "terms", families=(*THREE, "qwen2")),
    served(
        "IA3",
        "target_modules with lm_head",
        on_some(IA3Config, target_modules=["k_proj", "lm_head"], feedforward_modules=[]),
        "terms",
        families=("llama", "qwen2"),
    ),
    served(
        "IA3",
        "feedforward_modules with lm_head",
        on_some(IA3Config, target_modules=["k_proj", "lm_head"], feedforward_modules=["lm_head"]),
        "terms",
        families=("llama", "qwen2"),
    ),
    served("IA3", "on an int8 base", _fed, "terms", families=("llama-int8",)),
    served("IA3", "no feedforward_modules", _unfed, "terms", families=("llama", "qwen2")),
    served(
        "IA3",
        "feedforward_modules: a regex",
        lambda family: IA3Config(
            task_type="CAUSAL_LM", target_modules=r".*\.(k_proj|down_proj)", feedforward_modules=r".*\.down_proj"
        ),
        "terms",
    ),
    served(
        "IA3",
        "modules_to_save=['lm_head']",
        on_some(IA3Config, feedforward_modules=["down_proj"], modules_to_save=["lm_head"]),
        "terms",
    ),
    served("OFT", "oft_block_size=8", _oft(), "terms", families=(*THREE, "qwen2")),
    served(
        "OFT",
        "target_modules with lm_head",
        _oft(target_modules=["q_proj", "lm_head"]),
        "terms",
        families=("llama", "qwen2"),
    ),
    served("OFT", "on an int8 base", _oft(), "terms", families=("llama-int8",)),
    refused(
        "OFT",
        "no use_cayley_neumann (of an older PEFT)",
        _oft(),
        "use_cayley_neumann",
        edit=without("use_cayley_neumann"),
    ),
    served("OFT", "oft_block_size=16", _oft(oft_block_size=16), "terms"),
    served("OFT", "oft_block_size that does not divide the input", _oft(oft_block_size=32), "terms"),
    served("OFT", "r: a number of blocks", _oft(r=4, oft_block_size=0), "terms", families=("qwen2",)),
    served("OFT", "use_cayley_neumann=False", _oft(use_cayley_neumann=False), "terms", families=("llama", "phi3")),
    served("OFT", "num_cayley_neumann_terms=2", _oft(num_cayley_neumann_terms=2), "terms"),
    served("OFT", "num_cayley_neumann_terms=3", _oft(num_cayley_neumann_terms=3), "terms"),
    served("OFT", "num_cayley_neumann_terms=7", _oft(num_cayley_neumann_terms=7), "terms"),
    served("OFT", "coft", _oft(coft=True, eps=0.5), "terms", families=("llama", "qwen2")),
    served("OFT", "block_share", _oft(block_share=True), "terms"),
    served(
        "OFT",
        "modules_to_save: a linear and norms",
        _oft(target_modules=["q_proj", "down_proj"], modules_to_save=["v_proj", "post_attention_layernorm"]),
        "terms",
        families=("llama", "qwen2"),
    ),
    served("OFT", "bias='oft_only'", _oft(bias="oft_only"), "terms", families=("qwen2",)),
    served("BEFT", "biases of linears", on_some(BeftConfig), "terms", families=("llama", "qwen2")),
    served(
        "LN_TUNING",
        "all norms",
        lambda family: LNTuningConfig(task_type="CAUSAL_LM"),
        "terms",
        families=("llama", "qwen2", "gemma2"),
    ),
    served(
        "LN_TUNING",
        "target_modules",
        on_some(LNTuningConfig, target_modules=["input_layernorm", "norm"]),
        "terms",
        families=("llama", "phi3"),
    ),
    served(
        "LN_TUNING",
        "norms over heads",
        on_some(LNTuningConfig, target_modules=["q_norm", "k_norm", "norm"]),
        "terms",
        families=("qwen3", "gemma3"),
    ),
    served(
        "TRAINABLE_TOKENS",
        "token_indices",
        lambda family: TrainableTokensConfig(task_type="CAUSAL_LM", token_indices=[5, 3, 9]),
        "terms",
        families=BOTH,
    ),
    served(
        "TRAINABLE_TOKENS",
        "token_indices of lm_head",
        lambda family: TrainableTokensConfig(task_type="CAUSAL_LM", token_indices=[3, 12], target_modules=["lm_head"]),
        "terms",
    ),
    served(
        "TRAINABLE_TOKENS",
        f"{ADDED} added tokens",
        lambda family: TrainableTokensConfig(task_type="CAUSAL_LM", token_indices=NEW),
        "terms",
        families=TIED[:1],
        **GROWN,
    ),
)
