"""The low-rank update: over blocks of decoding and prefilling rows, and linears of every shape."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from launches.dtypes import ACTIVATIONS, DTYPES
from launches.family import Family
from launches.recorder import DEVICE
from loraplex_kernels.lora.block_arrays import Extent
from loraplex_kernels.lora.table import AdapterTable
from loraplex_kernels.lora.triton_op import add_lora_triton
from loraplex_kernels.lora.triton_plan import DECODE_ROWS, SIZES
from loraplex_kernels.site_group import SiteGroup

INPUTS = (896, 2048, 4096, 8192)  # by the parts that K is summed in: 1, 2, 4, 8
# A multiple of 16, and, as the output heads of odd vocabularies are, of 8, 4, 2 and 1.
OUTPUTS = (4096, 4104, 4100, 4098, 4097)
RANKS = (4, 256)  # what one launch takes, and what is too much for it


def _launch(rows: int, dtype: str, int8: bool, inputs: int, outputs: int, rank: int, dora: bool) -> None:
    element = DTYPES[dtype]
    extent = Extent(1, 1, rows)
    memory = torch.empty(extent.starts[-1], dtype=torch.int32, device=DEVICE)
    plan = SimpleNamespace(arrays=(extent.arrays(memory),), highest_rank=lambda table: rank)
    batch: Any = SimpleNamespace(magnitude=dora, triton_plan=plan)
    add_lora_triton(
        torch.empty(64, outputs, dtype=element, device=DEVICE),
        torch.empty(64, inputs, dtype=element, device=DEVICE),
        SiteGroup((0,), (outputs,)),
        batch,
        AdapterTable(4, 7, element, DEVICE, int8=int8),
    )


def _takes(capability: int, rows: int, dtype: str, int8: bool, inputs: int, outputs: int, rank: int, *_: bool) -> bool:
    """But for decoding the rank changes nothing."""
    return rows == DECODE_ROWS or rank == RANKS[0]


LORA = Family(
    _launch,
    {
        "rows": SIZES,
        "dtype": ACTIVATIONS,
        "int8": (False, True),
        "inputs": INPUTS,
        "outputs": OUTPUTS,
        "rank": RANKS,
        "dora": (False, True),
    },
    _takes,
)
