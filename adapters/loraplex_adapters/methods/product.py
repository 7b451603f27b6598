"""Matrix products on the calling thread: a loader must not wake torch's threads, which belong to the step loop."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from loraplex_adapters import pieces
from loraplex_adapters.courtesy import breathe
from loraplex_adapters.dora import ONE_THREAD


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """`left @ right` in blocks that OpenBLAS computes on one thread.

    Args:
        left: `[rows, inner]`.
        right: `[inner, columns]`, of left's dtype.
    """
    inner = max(1, left.shape[1])
    columns = max(1, min(right.shape[1], ONE_THREAD // inner))
    rows = max(1, ONE_THREAD // (inner * columns))
    found = np.empty((left.shape[0], right.shape[1]), dtype=np.result_type(left, right))
    for across in range(0, right.shape[1], columns):
        part = np.ascontiguousarray(right[:, across : across + columns])
        for down in range(0, left.shape[0], rows):
            breathe()
            found[down : down + rows, across : across + columns] = left[down : down + rows] @ part
    return found


def weight_times(weight: Tensor, right: np.ndarray) -> np.ndarray:
    """`weight @ right` in float32, converted block by block, never as a whole.

    Args:
        weight: `[out, in]` of a base's linear, any float dtype and device.
        right: float32 `[in, r]`.
    """
    found = np.empty((weight.shape[0], right.shape[1]), dtype=np.float32)
    step = max(1, pieces.PIECE // weight.shape[1])
    for first in range(0, weight.shape[0], step):
        found[first : first + step] = product(_float32(weight[first : first + step]), right)
    return found


def times_weight(left: np.ndarray, weight: Tensor) -> np.ndarray:
    """`left @ weight` in float32, likewise.

    Args:
        left: float32 `[r, out]`.
        weight: `[out, in]`.
    """
    found = np.zeros((left.shape[0], weight.shape[1]), dtype=np.float32)
    step = max(1, pieces.PIECE // weight.shape[1])
    for first in range(0, weight.shape[0], step):
        found += product(left[:, first : first + step], _float32(weight[first : first + step]))
    return found


def weight_block(weight: Tensor, first: int, last: int) -> np.ndarray:
    """Rows `[last - first, in]` of a base's weight, in float32."""
    return _float32(weight[first:last])


def _float32(rows: Tensor) -> np.ndarray:
    wide: np.ndarray = rows.detach().cpu().to(torch.float32).numpy()
    return wide
