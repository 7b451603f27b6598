"""The files of small adapters, as bytes: sound ones, for places that they are fetched from."""

from __future__ import annotations

import json

import numpy as np
from safetensors.numpy import save

from loraplex_adapters.fingerprint import CONFIG_FILE, TENSOR_FILE

Files = dict[str, bytes]


def adapter_files(seed: int = 0, values: int = 64) -> Files:
    """A config and tensors; two seeds give two contents."""
    weights = np.random.default_rng(seed).standard_normal((4, values), dtype=np.float32)
    config = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "base_model_name_or_path": f"base-{seed}"}
    return {
        CONFIG_FILE: json.dumps(config).encode(),
        TENSOR_FILE: save({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": weights}),
    }
