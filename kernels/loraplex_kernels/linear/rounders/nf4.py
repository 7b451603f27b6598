"""nf4: QLoRA's format as bitsandbytes rounds to it, so that an adapter finds the base that it was trained on.

Source: arXiv:2305.14314, section 3 and appendix E; bitsandbytes' `quantize_4bit` (blocksize 64, quant_type nf4).
"""

from __future__ import annotations

import torch
from torch import Tensor

from loraplex_kernels.linear.forms import Lookup
from loraplex_kernels.linear.rounders.rounder import Rounder, by_rows

BLOCK = 64
# Quantiles of the normal distribution, zero among them, scaled to [-1, 1]: appendix E of the paper.
TABLE = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)


def _round(weight: Tensor) -> Lookup:
    if weight.shape[1] % BLOCK:
        raise ValueError(
            f"nf4 has a scale for every {BLOCK} inputs, which {weight.shape[1]} inputs are no multiple of; "
            "int4 takes them"
        )
    return by_rows(weight, _round_rows)


def _round_rows(rows: Tensor) -> Lookup:
    table = torch.tensor(TABLE, device=rows.device)
    blocks = rows.reshape(-1, BLOCK)
    absmax = blocks.abs().amax(1)
    # By the reciprocal, and a value half-way between two to the lower one: so bitsandbytes' own kernels do it.
    scaled = (blocks * (1.0 / absmax.clamp_min(1e-38))[:, None]).clamp_(-1, 1)
    codes = torch.bucketize(scaled, (table[:-1] + table[1:]) / 2, out_int32=True)
    return Lookup(codes.to(torch.uint8).view(rows.shape), absmax.view(rows.shape[0], -1), table, BLOCK)


NF4 = Rounder(version=1, round=_round)
