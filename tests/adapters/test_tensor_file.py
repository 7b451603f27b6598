from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from loraplex_adapters import tensor_file
from loraplex_adapters.errors import AdapterError, AdapterRefusedError
from loraplex_adapters.fingerprint import PICKLE_FILE, TENSOR_FILE
from loraplex_adapters.pieces import PIECE
from loraplex_adapters.tensor_file import LONGEST_HEADER, read_header, read_pieces, scratch_bytes


def save(folder: Path, tensors: dict[str, Tensor]) -> Path:
    save_file(tensors, folder / TENSOR_FILE, metadata={"format": "pt"})
    return folder / TENSOR_FILE


def refused(folder: Path) -> tuple[str, ...]:
    with pytest.raises(AdapterRefusedError) as error:
        read_header("adapter", str(folder))
    return error.value.reasons


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("row", [1, 6])
@pytest.mark.parametrize("rows", [1, 7, PIECE // 6, PIECE // 6 + 1, PIECE // 2])
def test_pieces_are_whole_rows_and_together_the_tensor(tmp_path, dtype, row, rows) -> None:
    written = {"b": torch.randn(rows, 6).to(dtype), "a": torch.randn(3).to(dtype), "none": torch.zeros(0, 6).to(dtype)}
    path = save(tmp_path, written)
    header = read_header("adapter", str(tmp_path))
    scratch = torch.empty(scratch_bytes(row), dtype=torch.uint8)
    with open(path, "rb", buffering=0) as file:
        for name in ("a", "b", "none"):  # in any order
            width = row if name == "b" else 1
            found = [(first, piece.clone()) for first, piece in read_pieces(file, header.tensors[name], width, scratch)]
            assert all(first % width == 0 and piece.numel() % width == 0 for first, piece in found)
            assert all(piece.numel() <= PIECE for _, piece in found)
            assert [first for first, _ in found] == list(np.cumsum([0, *(piece.numel() for _, piece in found)])[:-1])
            joined = torch.cat([piece for _, piece in found]) if found else torch.empty(0, dtype=dtype)
            assert torch.equal(joined.view(written[name].shape), written[name])


def test_a_row_longer_than_a_piece_stays_whole(tmp_path) -> None:
    path = save(tmp_path, {"b": torch.randn(2, PIECE + 1)})
    spec = read_header("adapter", str(tmp_path)).tensors["b"]
    scratch = torch.empty(scratch_bytes(PIECE + 1), dtype=torch.uint8)
    with open(path, "rb", buffering=0) as file:
        assert [piece.numel() for _, piece in read_pieces(file, spec, PIECE + 1, scratch)] == [PIECE + 1] * 2


def test_the_tensors_cover_the_file(tmp_path) -> None:
    path = save(tmp_path, {"x": torch.zeros(3, 5), "y": torch.zeros(7, dtype=torch.bfloat16), "z": torch.zeros(2, 2)})
    header = read_header("adapter", str(tmp_path))
    cursor = len(header.raw)
    for spec in header.tensors.values():
        assert spec.start == cursor
        cursor += spec.nbytes
    assert cursor == path.stat().st_size
    assert path.read_bytes().startswith(header.raw)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path) -> None:
    path = save(tmp_path, {"x": torch.zeros(3 * PIECE)})
    spec = read_header("adapter", str(tmp_path)).tensors["x"]
    scratch = torch.empty(scratch_bytes(1), dtype=torch.uint8)
    with open(path, "rb", buffering=0) as file:
        reading = read_pieces(file, spec, 1, scratch)
        next(reading)
        path.write_bytes(path.read_bytes()[: PIECE * 4])
        with pytest.raises(AdapterError, match="shorter"):
            next(reading)


def test_no_file_is_refused(tmp_path) -> None:
    assert refused(tmp_path) == (f"there is no {TENSOR_FILE}",)


def test_a_pickle_is_refused_by_name_and_never_opened(tmp_path) -> None:
    (tmp_path / PICKLE_FILE).mkdir()  # would raise if anything tried to read it
    (reason,) = refused(tmp_path)
    assert reason.startswith(f"{PICKLE_FILE} is a pickle")
    assert "safe_serialization=True" in reason


def test_a_pipe_is_refused_and_never_opened(tmp_path) -> None:
    os.mkfifo(tmp_path / TENSOR_FILE)
    assert refused(tmp_path) == (f"{TENSOR_FILE} is no regular file",)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float64, torch.float8_e4m3fn])
def test_other_dtypes_are_refused_with_the_tensors_name(tmp_path, dtype) -> None:
    save(tmp_path, {"good": torch.zeros(2), "odd": torch.zeros(2).to(dtype), "other": torch.zeros(1).to(dtype)})
    found = refused(tmp_path)
    assert [reason.split()[1] for reason in found] == ["odd", "other"]


DAMAGE = {
    "empty": lambda raw: b"",
    "seven bytes": lambda raw: raw[:7],
    "cut in the header": lambda raw: raw[:30],
    "cut in the data": lambda raw: raw[:-4],
    "something behind": lambda raw: raw + b"more",
    "header too long": lambda raw: struct.pack("<Q", LONGEST_HEADER + 1) + raw[8:],
    "header beyond the end": lambda raw: struct.pack("<Q", len(raw)) + raw[8:],
    "header of zero": lambda raw: struct.pack("<Q", 0) + raw[8:],
    "not JSON": lambda raw: raw.replace(b'{"', b"{{", 1),
    "not UTF-8": lambda raw: raw.replace(b'"x"', b'"\xff"', 1),
    "shape against size": lambda raw: raw.replace(b"[3,5]", b"[3,6]", 1),
    "unknown dtype": lambda raw: raw.replace(b'"F32"', b'"F33"', 1),
    "a hole": lambda raw: raw.replace(b"[0,60]", b"[4,64]", 1),
    "huge shape": lambda raw: raw.replace(b"[3,5]", b"[9e9]"[:5], 1),
    "a pickle": lambda raw: b"\x80\x02}q\x00." * 20,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused(tmp_path, damage) -> None:
    path = save(tmp_path, {"x": torch.zeros(3, 5)})
    before = path.read_bytes()
    path.write_bytes(DAMAGE[damage](before))
    assert path.read_bytes() != before
    (reason,) = refused(tmp_path)
    assert reason.startswith(f"{TENSOR_FILE} is damaged: ")


def test_the_file_itself_is_never_mapped(tmp_path, monkeypatch) -> None:
    """Someone may truncate it at any moment, and reading a page that is gone ends the process."""
    path, mapped = save(tmp_path, {"a": torch.ones(1000, 100)}), []

    def opened(file, framework):
        os.truncate(path, 100)
        mapped.append(os.path.realpath(file))
        return safe_open(file, framework)

    monkeypatch.setattr(tensor_file, "safe_open", opened)
    before = len(os.listdir("/proc/self/fd"))
    header = read_header("adapter", str(tmp_path))
    assert header.tensors["a"].shape == (1000, 100)
    assert mapped != [os.path.realpath(path)]
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(AdapterRefusedError, match="is damaged"):
        read_header("adapter", str(tmp_path))
