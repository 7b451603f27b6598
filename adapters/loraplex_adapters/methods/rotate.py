"""The rotations of OFT as numbers.

Source: PEFT's `OFTRotationModule` and `OFTLayer.adjust_oft_parameters` (tuners/oft/layer.py).
"""

from __future__ import annotations

import numpy as np


def rotation(vectors: np.ndarray, size: int, terms: int | None) -> np.ndarray:
    """Rotations from the upper triangles of skew-symmetric matrices Q.

    Args:
        vectors: float64 `[blocks, size * (size - 1) / 2]`.
        size: of a block.
        terms: of Neumann's series for Cayley's transform; None: the transform itself, (I - Q)(I + Q)^-1.

    Returns:
        `[blocks, size, size]`; a block of the input, as a row, is multiplied from the right.
    """
    skew = _skew(vectors, size)
    identity = np.broadcast_to(np.eye(size), skew.shape)
    if terms is None:
        # Both factors are polynomials in Q and so commute: X (I + Q) = I - Q is solved from the left.
        solved: np.ndarray = np.linalg.solve(identity + skew, identity - skew)
        return solved
    return _neumann(skew, identity, terms)


def project(vectors: np.ndarray, eps: float) -> np.ndarray:
    """COFT: each Q is no longer than eps / sqrt(blocks), by its Frobenius norm."""
    bound = eps / np.sqrt(vectors.shape[0])
    lengths = np.sqrt(2) * np.linalg.norm(vectors, axis=1, keepdims=True)  # every entry is in Q twice
    over = np.squeeze(lengths > bound, axis=1)
    found = vectors.copy()
    found[over] *= bound / lengths[over]
    return found


def block_size(in_features: int, blocks: int, size: int) -> int:
    """What PEFT makes of `r` and `oft_block_size`, one of which is zero, where they do not divide the input."""
    if blocks == 0:
        return size if in_features % size == 0 else _divisor(in_features, size)
    return in_features // (blocks if in_features % blocks == 0 else _divisor(in_features, blocks))


def _divisor(of: int, near: int) -> int:
    """The divisor nearest to a number, the smaller of two; the dimension itself where the number is not below it."""
    if near >= of:
        return of
    above = next(n for n in range(near, of + 1) if of % n == 0)
    below = next(n for n in range(near, 0, -1) if of % n == 0)
    return below if near - below <= above - near else above


def _skew(vectors: np.ndarray, size: int) -> np.ndarray:
    found = np.zeros((vectors.shape[0], size, size))
    rows, columns = np.triu_indices(size, 1)
    found[:, rows, columns] = vectors
    return found - found.transpose(0, 2, 1)


def _neumann(skew: np.ndarray, identity: np.ndarray, terms: int) -> np.ndarray:
    """I + 2Q + 2Q^2 + ... + Q^n, as PEFT ends it: the last power counts once, and three terms are as good as four."""
    found = identity.copy()
    if terms > 1:
        found += 2 * skew
    if terms > 2:
        power = skew @ skew
        found += 2 * power
        for _ in range(3, terms - 1):
            power = power @ skew
            found += 2 * power
        found += power @ skew
    return found
