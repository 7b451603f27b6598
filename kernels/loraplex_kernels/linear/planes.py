"""How codes lie in memory for the Triton kernels."""

from __future__ import annotations

import torch
from torch import Tensor

# 16-bit elements of a chunk. An element has a code of each of its planes, and a plane's 32 inputs are two steps of the
# tensor cores; so a row of a chunk is 64 bytes, four loads of 16, whatever N and K are.
WIDTH = 32


def chunk_of(bits: int) -> int:
    """Inputs of a chunk: 128 of 4 bits, 64 of 8."""
    return WIDTH * (16 // bits)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes in planes: element j of chunk c has in its bits `bits * p` and up the code of input `c * chunk + 32 p + j`.

    So the inputs of a plane lie side by side in x, its codes come out of all elements by one shift, and a chunk of any
    number of outputs is one piece of memory.

    Args:
        codes: uint8 `[N, K]`, each below `2 ** bits`.
        bits: 4 or 8.

    Returns:
        int16 `[ceil(K / chunk), N, 32]`; what K lacks of a chunk is zeros.
    """
    outputs, inputs = codes.shape
    chunk = chunk_of(bits)
    words = torch.zeros(-(-inputs // chunk), outputs, WIDTH, dtype=torch.int16, device=codes.device)
    for first in range(0, inputs, WIDTH):
        part = codes[:, first : first + WIDTH].to(torch.int16)
        plane = first % chunk // WIDTH
        words[first // chunk, :, : part.shape[1]] |= part << (bits * plane)
    return words


def unpack(words: Tensor, bits: int, inputs: int) -> Tensor:
    """What `pack` packed.

    Args:
        words: int16 `[chunks, N, 32]`.
        bits: of a code.
        inputs: K.

    Returns:
        uint8 `[N, K]`.
    """
    chunks, outputs, _ = words.shape
    planes = [(words >> (bits * plane) & (2**bits - 1)).to(torch.uint8) for plane in range(16 // bits)]
    return torch.stack(planes, dim=2).permute(1, 0, 2, 3).reshape(outputs, chunks * chunk_of(bits))[:, :inputs]
