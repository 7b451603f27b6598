"""adapter_model.safetensors: its header, checked, and its tensors, in pieces."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from loraplex_adapters.errors import AdapterError, AdapterRefusedError
from loraplex_adapters.fingerprint import PICKLE_FILE, TENSOR_FILE
from loraplex_adapters.pieces import PIECE

FLOATS: Mapping[str, torch.dtype] = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# Of the methods that are served, one saves indices (VB-LoRA).
INTEGERS: Mapping[str, torch.dtype] = {
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
}
DTYPES: Mapping[str, torch.dtype] = {**FLOATS, **INTEGERS}
# A header takes some 150 bytes a tensor; the largest open models have under 3000 adapted tensors.
LONGEST_HEADER = 4 << 20


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of the file."""

    name: str
    dtype: str  # as the format spells it: F32, BF16, I8
    shape: tuple[int, ...]
    start: int  # first byte, from the start of the file
    nbytes: int


@dataclass(frozen=True)
class TensorHeader:
    """All tensors of a file, in the order in which they lie there, without holes."""

    raw: bytes  # length and JSON, as in the file
    tensors: Mapping[str, TensorSpec]


def read_header(name: str, folder: str) -> TensorHeader:
    """Read and check the header of an adapter's tensor file.

    The safetensors library itself says whether the file is sound: the header's length and JSON, known dtypes, sizes
    that agree with shapes, offsets without holes or overlaps that cover the file to its last byte.

    Args:
        name: of the adapter, for the messages.
        folder: that holds the file.

    Raises:
        AdapterRefusedError: there is no such file, only a pickle, or it is none that could be read to an end, or it
            is damaged, or a dtype is none of DTYPES.
        OSError: it cannot be read.
    """
    path = os.path.join(folder, TENSOR_FILE)
    if not os.path.exists(path):
        raise AdapterRefusedError(name, [_missing(folder)])
    if not os.path.isfile(path):  # opening a pipe waits for a writer, with the loader's thread
        raise AdapterRefusedError(name, [f"{TENSOR_FILE} is no regular file"])
    with open(path, "rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > LONGEST_HEADER:
            raise AdapterRefusedError(name, [f"{TENSOR_FILE} is damaged: its header cannot be {length} bytes long"])
        text = file.read(length)
        try:
            _require_sound(prefix + text, os.fstat(file.fileno()).st_size)
        except SafetensorError as error:
            raise AdapterRefusedError(name, [f"{TENSOR_FILE} is damaged: {error}"]) from error
    tensors = {spec.name: spec for spec in sorted(_specs(text), key=lambda spec: spec.start)}
    if reasons := [_wrong_dtype(spec) for spec in tensors.values() if spec.dtype not in DTYPES]:
        raise AdapterRefusedError(name, reasons)
    return TensorHeader(prefix + text, tensors)


def not_floats(tensors: Iterable[TensorSpec]) -> list[str]:
    """One reason for every tensor that holds integers."""
    return [_wrong_dtype(spec) for spec in tensors if spec.dtype not in FLOATS]


def read_pieces(
    file: BinaryIO, spec: TensorSpec, row: int, scratch: Tensor, most: int = PIECE
) -> Iterator[tuple[int, Tensor]]:
    """Read one tensor in pieces of whole rows, each of up to `most` elements where a row is no longer.

    Read rather than mapped: a mapped file that someone truncates ends the process with SIGBUS.

    Args:
        file: unbuffered, at any position.
        spec: of the tensor.
        row: elements that must stay together; the tensor's size is a multiple.
        scratch: uint8, of `scratch_bytes(row, most)` or more; each piece is a view of it, good until the next.
        most: elements of a piece.

    Yields:
        Index of the first element, and the elements, in the file's dtype.

    Raises:
        AdapterError: the file ends early, so it was changed after its header was read.
    """
    dtype = DTYPES[spec.dtype]
    total = math.prod(spec.shape)
    step = _step(row, most)
    for first in range(0, total, step):
        piece = scratch[: min(step, total - first) * dtype.itemsize]
        read_bytes(file, spec.start + first * dtype.itemsize, piece)
        yield first, piece.view(dtype)


def read_bytes(file: BinaryIO, start: int, target: Tensor) -> memoryview:
    """Fill a uint8 tensor with the file's bytes from `start` on.

    Raises:
        AdapterError: the file ends early, so it was changed after its header was read.
    """
    raw: memoryview = target.numpy().data
    have = 0
    while have < len(raw):
        count = os.preadv(file.fileno(), [raw[have:]], start + have)
        if not count:
            raise AdapterError(f"{TENSOR_FILE} became shorter while it was being read")
        have += count
    return raw


def scratch_bytes(row: int, most: int = PIECE) -> int:
    """Bytes of scratch that `read_pieces` needs for rows of so many elements."""
    return _step(row, most) * 8  # of the widest dtype


def _require_sound(header: bytes, size: int) -> None:
    """Let the library look at the header, in front of a hole as large as the data.

    Not at the file itself, which it would map: see `read_pieces`.

    Raises:
        SafetensorError: the header is damaged, or a file of `size` bytes is not what it announces.
    """
    in_memory = hasattr(os, "memfd_create")
    with open(os.memfd_create("header"), "wb") if in_memory else tempfile.NamedTemporaryFile() as file:
        file.write(header)
        file.truncate(size)
        with safe_open(f"/proc/self/fd/{file.fileno()}" if in_memory else file.name, "np"):
            pass


def _step(row: int, most: int) -> int:
    return max(1, most // row) * row


def _specs(text: bytes) -> Iterator[TensorSpec]:
    base = 8 + len(text)
    for key, value in json.loads(text).items():
        if key != "__metadata__":
            start, end = value["data_offsets"]
            yield TensorSpec(key, value["dtype"], tuple(value["shape"]), base + start, end - start)


def _missing(folder: str) -> str:
    if os.path.exists(os.path.join(folder, PICKLE_FILE)):
        return (
            f"{PICKLE_FILE} is a pickle, which can run code when it is read, and is not opened; save the adapter with "
            f"PEFT's save_pretrained(safe_serialization=True), which writes {TENSOR_FILE}"
        )
    return f"there is no {TENSOR_FILE}"


def _wrong_dtype(spec: TensorSpec) -> str:
    return f"tensor {spec.name} is {spec.dtype}; the weights of an adapter must be {', '.join(FLOATS)}"
