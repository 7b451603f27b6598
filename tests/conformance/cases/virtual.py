"""Virtual tokens: vectors before the prompt, or keys and values before its own."""

from __future__ import annotations

from peft import (
    CartridgeConfig,
    CPTConfig,
    MultitaskPromptTuningConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
)

from conformance.case import Case, refused, served
from conformance.families import Family

ALL = ("llama", "qwen2", "qwen3", "mistral", "phi3", "gemma2", "gemma3")
THREE = ("llama", "qwen2", "phi3")


def virtual(kind, count: int = 6, **options: object):
    """A config of this kind with some virtual tokens."""

    def config(family: Family) -> PeftConfig:
        return kind(task_type="CAUSAL_LM", num_virtual_tokens=count, **options)

    return config


def _context(family: Family) -> CPTConfig:
    tokens = [11, 12, 13, 14, 15]
    return CPTConfig(
        task_type="CAUSAL_LM", cpt_token_ids=tokens, cpt_mask=[1] * 5, cpt_tokens_type_mask=[1, 2, 3, 3, 4]
    )


CASES: tuple[Case, ...] = (
    served("PROMPT_TUNING", "num_virtual_tokens=6", virtual(PromptTuningConfig), "virtual tokens", families=ALL),
    served("PROMPT_TUNING", "num_virtual_tokens=16, two KV blocks", virtual(PromptTuningConfig, 16), "virtual tokens"),
    served("PROMPT_TUNING", "num_virtual_tokens=1", virtual(PromptTuningConfig, 1), "virtual tokens"),
    served(
        "P_TUNING",
        "encoder_reparameterization_type='MLP'",
        virtual(PromptEncoderConfig, encoder_hidden_size=20),
        "virtual tokens",
        families=THREE,
    ),
    served(
        "P_TUNING",
        "encoder_reparameterization_type='LSTM'",
        virtual(PromptEncoderConfig, encoder_reparameterization_type="LSTM", encoder_hidden_size=20),
        "virtual tokens",
    ),
    served("PREFIX_TUNING", "no projection", virtual(PrefixTuningConfig), "virtual tokens", families=ALL),
    served(
        "PREFIX_TUNING",
        "prefix_projection",
        virtual(PrefixTuningConfig, prefix_projection=True, encoder_hidden_size=20),
        "virtual tokens",
        families=THREE,
    ),
    served("PREFIX_TUNING", "num_virtual_tokens=16, two KV blocks", virtual(PrefixTuningConfig, 16), "virtual tokens"),
    served("CPT", "cpt_token_ids", _context, "virtual tokens", families=("llama", "gemma3")),
    served("CARTRIDGE", "num_frozen_tokens=1", virtual(CartridgeConfig), "virtual tokens", families=("llama", "qwen2")),
    served("CARTRIDGE", "num_frozen_tokens=0", virtual(CartridgeConfig, num_frozen_tokens=0), "virtual tokens"),
    served(
        "MULTITASK_PROMPT_TUNING",
        "num_tasks=1",
        virtual(MultitaskPromptTuningConfig, num_tasks=1, num_ranks=2),
        "virtual tokens",
        spread=0.5,
        task=0,
    ),
    refused(
        "MULTITASK_PROMPT_TUNING",
        "num_tasks=2",
        virtual(MultitaskPromptTuningConfig, num_tasks=2, num_ranks=2),
        "num_tasks",
    ),
)
