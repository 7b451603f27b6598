"""What the adapter_config.json of a LoRA may say beyond what is served, and what to answer when it does.

Source: the fields of `LoraConfig` in PEFT's tuners/lora/config.py, read up to PEFT 0.21.
"""

from __future__ import annotations

from collections.abc import Mapping

# Read by `peft_config`: these decide what is adapted, and how strongly.
SERVED = frozenset(
    {
        "peft_type",
        "r",
        "lora_alpha",
        "use_rslora",
        "use_dora",
        "rank_pattern",
        "alpha_pattern",
        "target_modules",
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "bias",
        "lora_bias",
        "modules_to_save",
        "trainable_token_indices",
        "ensure_weight_tying",
        "alora_invocation_tokens",
        "init_lora_weights",
        "base_model_name_or_path",
    }
)

# Any value is fine, because none of these reaches the forward of a trained adapter on an nn.Linear.
HARMLESS: Mapping[str, str] = {
    "auto_mapping": "names the class that PEFT wraps",
    "revision": "of the base model, for PEFT's own download",
    "task_type": "chooses PEFT's wrapper; what it adds beyond LoRA shows up as modules_to_save",
    "inference_mode": "whether PEFT asks for gradients",
    "peft_version": "who wrote the file",
    "lora_dropout": "acts in training only",
    "fan_in_fan_out": "PEFT itself sets it to false on an nn.Linear",
    "megatron_core": "read only together with megatron_config",
    "loftq_config": "read by initialisation only",
    "modules_to_tie": "PEFT works it out again from ensure_weight_tying",
    "target_modules_to_tie": "likewise",
    "eva_config": "read by initialisation only",
    "corda_config": "read by initialisation only",
    "lora_ga_config": "read by initialisation only",
    "qalora_group_size": "read only together with use_qalora",
    "runtime_config": "where PEFT computes, not what",
    "merge_weights": "PEFT before 0.3: when it merges, not what",
}

# Off (null, false, empty) is fine; on would change the outputs in a way that is not served.
UNSERVED: Mapping[str, str] = {
    "layer_replication": "it builds a different stack of layers than the base model's",
    "target_parameters": "LoRA on bare parameters is not served, only on linear modules (target_modules)",
    "megatron_config": "Megatron's parallel linears are not served",
    "use_qalora": "QALoRA pools the inputs of lora_A and is not served",
    "use_bdlora": "block-diagonal LoRA is not served",
    "arrow_config": "Arrow routing is not served",
    "kasa_config": "KaSA truncates the base weights and is not served",
    "monteclora_config": "Monteclora is not served",
    "velora_config": "VeLoRA is not served; PEFT's merge and an extraction, or training without it, give a plain LoRA",
}

_CONVERT = (
    "changed the base weights before training, so the adapter fits those and not the model's own; save it again "
    "with PEFT's save_pretrained(path_initial_model_for_weight_conversion=...), which turns it into a plain LoRA"
)

# Initialisations that leave the base alone: whatever they began with, the file holds the trained A and B.
PLAIN_INITS = frozenset({"gaussian", "eva", "orthogonal", "mica"})

# Initialisations after which PEFT's forward is not base + LoRA on the model as it was published.
MUTATING_INITS: Mapping[str, str] = {
    "pissa": _CONVERT,
    "olora": _CONVERT,
    "corda": _CONVERT,
    "lora_ga": _CONVERT,
    "loftq": "trained against a quantized copy of the base weights, so the adapter fits that copy and not the "
    "model's own; train with another init_lora_weights",
}


def init_reason(value: object) -> str | None:
    """Why an `init_lora_weights` cannot be served, None where it can."""
    if isinstance(value, bool) or value is None or value in PLAIN_INITS:
        return None
    if isinstance(value, str):
        for prefix, reason in MUTATING_INITS.items():
            if value.lower().startswith(prefix):  # pissa_niter_16 among them
                return f"init_lora_weights '{value}' {reason}"
    return f"init_lora_weights {value!r} is not known to Loraplex: it may have changed the base weights"


def unserved_reasons(values: Mapping[str, object]) -> list[str]:
    """One reason for every key that asks for something beyond plain LoRA, in the file's order."""
    reasons = []
    for key, value in values.items():
        if key in SERVED or key in HARMLESS or not value:
            continue
        if key in UNSERVED:
            reasons.append(f"'{key}' is set: {UNSERVED[key]}")
        else:
            reasons.append(f"'{key}' is not known to Loraplex: a newer PEFT may mean something by {value!r:.80}")
    return reasons
