"""DoRA's magnitudes, divided by the norms of the weights that they scale.

With V = W + scale * B A, DoRA's layer is (m / ||V||) * V x, where ||V|| is taken over each output's row: so the norm
can be computed once, at load, and the forward needs one factor an output.
Source: arXiv:2402.09353, equation 5; PEFT's `DoraLinearLayer.get_weight_norm` (tuners/lora/dora.py).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from loraplex_adapters.pieces import PIECE
from loraplex_kernels.ops.convert import convert

# OpenBLAS computes a product on the calling thread up to 2^18 multiplications.
ONE_THREAD = 1 << 18
# Columns of A that stay in a core's second cache at rank 64, and elements of the weight that do so beside them.
TILE = 1024
BLOCK = 1 << 17
# On a device, blocks only bound the memory: 64 MB of float32.
DEVICE_BLOCK = 1 << 24


def norms(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """||W + scale B A|| of every output, in float32.

    Args:
        weight: [out, in], any float dtype and device; converted block by block, never as a whole.
        a: [rank, in], any float dtype, on the CPU.
        b: [rank, out], PEFT's lora_B transposed, likewise.
        scale: of the product.

    Returns:
        float32 [out], on the CPU.
    """
    if weight.device.type == "cpu":
        return torch.from_numpy(_on_one_thread(weight, _float32(a), _float32(b), scale))
    found = torch.empty(weight.shape[0], dtype=torch.float32, device=weight.device)
    a, b = a.to(weight.device).float(), b.to(weight.device).float()
    step = max(1, DEVICE_BLOCK // weight.shape[1])
    for first in range(0, weight.shape[0], step):
        rows = slice(first, first + step)
        whole = torch.addmm(weight[rows].float(), b[:, rows].t(), a, alpha=scale)
        torch.linalg.vector_norm(whole, dim=1, out=found[rows])
    return found.cpu()


def _on_one_thread(weight: Tensor, a: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
    """By numpy, block by block: torch's products would start threads that fight with the step loop's."""
    rank, width = a.shape
    columns = max(1, min(width, TILE, ONE_THREAD // rank))
    few = max(1, min(PIECE, ONE_THREAD // rank) // columns)  # rows of one product
    rows = max(1, BLOCK // columns // few) * few
    squares = np.zeros(weight.shape[0], dtype=np.float64)
    scratch, product = torch.empty(rows * columns), np.empty(rows * columns, dtype=np.float32)
    for left in range(0, width, columns):
        tile = np.ascontiguousarray(a[:, left : left + columns])
        for top in range(0, weight.shape[0], rows):
            part = weight[top : top + rows, left : left + columns]
            wide = scratch[: part.numel()].view(part.shape)
            update = product[: part.numel()].reshape(part.shape)
            factor = np.ascontiguousarray(b[:, top : top + rows].T) * np.float32(scale)  # [rows, rank]
            for row in range(0, part.shape[0], few):
                wide[row : row + few].copy_(part[row : row + few])
                np.matmul(factor[row : row + few], tile, out=update[row : row + few])
            update += wide.numpy()
            squares[top : top + rows] += np.einsum("ij,ij->i", update, update)
    return np.sqrt(squares).astype(np.float32)


def _float32(values: Tensor) -> np.ndarray:
    if values.dtype == torch.float32:
        return values.numpy()
    wide = torch.empty(values.shape, dtype=torch.float32)
    convert(values.view(1, -1), wide.view(1, -1))
    return wide.numpy()
