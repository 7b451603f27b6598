"""bitsandbytes checkpoints, written by transformers with the library's kernels for the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bitsandbytes
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig


def write_bnb(base: Path, folder: Path, **options: Any) -> Path:
    """Quantize `base` and save it.

    Returns:
        A folder with what the library makes of its own weights, in floating point.
    """
    config = BitsAndBytesConfig(bnb_4bit_compute_dtype=torch.float32, **options)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, quantization_config=config)
    model.save_pretrained(folder)
    model.dequantize(dtype=torch.float32).save_pretrained(folder / "meant")
    return folder / "meant"


def load_bnb(folder: Path, adapter: Path | None = None) -> nn.Module:
    """The oracle: the library's own linears, not merely its weights, and PEFT's layers for them."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            # Or, where the CPU has such instructions, it computes in bfloat16 whatever its compute_dtype.
            module.training = True
    return model
