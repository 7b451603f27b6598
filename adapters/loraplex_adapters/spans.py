"""Tensors that lie side by side in a file, so that many are read, hashed and converted in one call each.

Every call that lets go of the interpreter lock has to ask for it again, and the step loop with it: three calls for each
of an adapter's hundreds of tensors cost a load more in waking threads than in reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO

from torch import Tensor

from loraplex_adapters.put import Put
from loraplex_adapters.tensor_file import DTYPES, TensorSpec, read_bytes
from loraplex_kernels.ops.convert import convert_all

MOST = 2 << 20  # bytes of a span


def spans(tensors: Iterable[TensorSpec], puts: Mapping[str, Put]) -> Iterator[list[TensorSpec]]:
    """Runs of tensors that are only converted, up to `MOST` bytes together; every other tensor is alone.

    Args:
        tensors: in the order of the file, where they lie without holes.
        puts: of each.
    """
    span: list[TensorSpec] = []
    for spec in tensors:
        if span and not _joins(spec, span, puts):
            yield span
            span = []
        span.append(spec)
    if span:
        yield span


def is_span(span: Sequence[TensorSpec], puts: Mapping[str, Put]) -> bool:
    """Whether `read_span` takes it; what it does not is one tensor, that is large or goes another way."""
    return puts[span[0].name].whole is not None and span[-1].start + span[-1].nbytes - span[0].start <= MOST


def _joins(spec: TensorSpec, span: Sequence[TensorSpec], puts: Mapping[str, Put]) -> bool:
    start = spec.start - span[0].start
    aligned = start % DTYPES[spec.dtype].itemsize == 0
    small = start + spec.nbytes <= MOST
    return aligned and small and puts[spec.name].whole is not None and puts[span[0].name].whole is not None


def read_span(
    file: BinaryIO, span: Sequence[TensorSpec], puts: Mapping[str, Put], scratch: Tensor
) -> tuple[memoryview, list[bool]]:
    """Read and convert a span.

    Args:
        file: unbuffered, at any position.
        span: of tensors that are only converted.
        puts: of each.
        scratch: uint8, at least as long.

    Returns:
        The bytes, good until the next use of the scratch, and of each tensor whether it is finite.

    Raises:
        AdapterError: the file ends early, so it was changed after its header was read.
    """
    first = span[0].start
    raw = read_bytes(file, first, scratch[: span[-1].start + span[-1].nbytes - first])
    jobs = []
    for spec in span:
        elements = scratch[spec.start - first : spec.start - first + spec.nbytes].view(DTYPES[spec.dtype])
        make = puts[spec.name].whole
        if make is None:
            raise ValueError(f"{spec.name} is not only converted")
        jobs.append(make(elements.view(1, len(elements))))
    return raw, convert_all(jobs)
