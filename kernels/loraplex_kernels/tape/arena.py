"""Memory for what lives only while a step runs, at addresses that never change."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_ALIGNMENT = 64  # of every tensor: a vector, and a cache line
_LEAST_CHUNK = 1 << 20


@dataclass
class _Gap:
    """Free bytes `[start, end)` of a chunk."""

    chunk: int
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.start


class Arena:
    """Chunks that are never moved nor freed, and which every recording lays its tensors into from the beginning.

    Within a recording memory is used again as soon as the last tensor over it is gone, so that all layers of a model
    share the room of one. Recordings do not know of each other: what one keeps is good until another one is replayed.
    """

    def __init__(self) -> None:
        self._chunks: list[np.ndarray] = []
        self._gaps: list[_Gap] = []
        self._recording = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all chunks."""
        return sum(chunk.nbytes for chunk in self._chunks)

    def rewind(self) -> None:
        """Begin a recording: all memory is free."""
        self._recording += 1
        self._gaps = [_Gap(place, 0, chunk.nbytes) for place, chunk in enumerate(self._chunks)]

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor that holds its memory until nothing views it any more."""
        wanted = max(-(-math.prod(shape) * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT, _ALIGNMENT)
        gap = self._gap(wanted)
        place, start = gap.chunk, gap.start
        gap.start += wanted
        if not gap.nbytes:
            self._gaps.remove(gap)
        # An array of its own for each tensor: the storage holds it, and with it dies.
        memory = self._chunks[place][start : start + wanted]
        weakref.finalize(memory, self._release, self._recording, _Gap(place, start, start + wanted)).atexit = False
        return torch.from_numpy(memory)[: math.prod(shape) * dtype.itemsize].view(dtype).view(tuple(shape))

    def _gap(self, wanted: int) -> _Gap:
        """The smallest that is large enough; a new chunk where none is."""
        fitting = [gap for gap in self._gaps if gap.nbytes >= wanted]
        if fitting:
            return min(fitting, key=lambda gap: gap.nbytes)
        raw = np.empty(max(wanted, _LEAST_CHUNK) + _ALIGNMENT, dtype=np.uint8)
        skip = -raw.ctypes.data % _ALIGNMENT
        chunk = raw[skip : skip + raw.nbytes - _ALIGNMENT]
        self._chunks.append(chunk)
        self._gaps.append(_Gap(len(self._chunks) - 1, 0, chunk.nbytes))
        return self._gaps[-1]

    def _release(self, recording: int, freed: _Gap) -> None:
        """Join what a tensor leaves with the gaps at its sides. One of an earlier recording has nothing to leave."""
        if recording != self._recording:
            return
        for gap in [gap for gap in self._gaps if gap.chunk == freed.chunk]:
            if gap.end == freed.start or gap.start == freed.end:
                freed = _Gap(gap.chunk, min(gap.start, freed.start), max(gap.end, freed.end))
                self._gaps.remove(gap)
        self._gaps.append(freed)
