"""Dtypes by the names that Triton gives them."""

from __future__ import annotations

import torch

DTYPES = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
    "float8": torch.float8_e4m3fn,
}
ACTIVATIONS = ("bf16", "fp16", "fp32")
