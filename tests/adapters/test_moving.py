"""What a copy of an adapter's buffer to other memory needs; the copies themselves need a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.peft_files import Base, write_adapter

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.loading import read
from loraplex_adapters.moving import rebased, to_device, to_host
from loraplex_adapters.terms import EmbeddingLora, Terms, TokenRows

CPU = torch.device("cpu")


def terms_in(buffer: torch.Tensor) -> Terms:
    floats = buffer[:64].view(torch.float32)
    return Terms(
        bias={3: floats[:4]},
        norm={"model.norm": floats[4:8]},
        embedding_lora=EmbeddingLora(floats[:6].view(3, 2), floats[6:8].view(2, 1), 0.5),
        input_tokens=TokenRows(buffer[64:80].view(torch.int64), floats[8:12].view(2, 2)),
        prompt=buffer[80:88].view(torch.bfloat16).view(2, 2),
    )


def test_terms_of_a_copy_are_the_same_views_of_the_copy() -> None:
    old = torch.arange(128, dtype=torch.uint8)
    new = old.clone()
    moved = rebased(terms_in(old), old, new)
    expected = terms_in(old)
    old.zero_()
    assert moved.embedding_lora is not None
    assert moved.embedding_lora.scale == 0.5
    assert moved.bias.keys() == {3}
    assert torch.equal(moved.bias[3], terms_in(new).bias[3])
    assert moved.input_tokens is not None
    assert torch.equal(moved.input_tokens.ids, new[64:80].view(torch.int64))
    assert moved.input_tokens.rows.shape == (2, 2)
    assert moved.prompt is not None
    assert moved.prompt.dtype == torch.bfloat16
    assert moved.prompt.data_ptr() == new.data_ptr() + 80
    assert moved.norm["model.norm"].data_ptr() == new.data_ptr() + 16
    assert not expected.bias[3].any()  # the original looks at the old buffer, the copy does not


@pytest.mark.parametrize("cut", [slice(0, 64), slice(32, 96)])
def test_a_buffer_that_is_a_part_of_a_larger_one_has_its_own_beginning(cut: slice) -> None:
    whole = torch.arange(128, dtype=torch.uint8)
    old, new = whole[cut], torch.zeros(64, dtype=torch.uint8)
    view = rebased({0: old[16:32].view(torch.float32)}, old, new)[0]
    assert view.data_ptr() == new.data_ptr() + 16


def test_a_tensor_that_lies_elsewhere_cannot_be_moved() -> None:
    old, new = torch.zeros(64, dtype=torch.uint8), torch.zeros(64, dtype=torch.uint8)
    for stray in (torch.zeros(4), old.view(8, 8).t()):
        with pytest.raises(ValueError, match="contiguous views of its one buffer"):
            rebased({0: stray}, old, new)


def test_on_a_cpu_nothing_is_copied(llama: Base, tmp_path: Path) -> None:
    write_adapter(tmp_path, "a")
    loaded = read(Catalog(tmp_path).resolve("a"), torch.float32, CPU, replace(llama))
    assert to_host(loaded) is loaded
    assert to_device(loaded, CPU) is loaded


def test_the_terms_of_a_real_adapter_move_with_its_buffer(llama: Base, tmp_path: Path) -> None:
    write_adapter(tmp_path, "a", trainable_token_indices=[1, 5], modules_to_save=["norm"])
    loaded = read(Catalog(tmp_path).resolve("a"), torch.float32, CPU, replace(llama))
    copy = loaded.buffer.clone()
    moved = rebased(loaded.terms, loaded.buffer, copy)
    assert moved.input_tokens is not None
    assert loaded.terms.input_tokens is not None
    assert torch.equal(moved.input_tokens.rows, loaded.terms.input_tokens.rows)
    assert moved.input_tokens.ids.tolist() == [1, 5]
    assert moved.norm.keys() == loaded.terms.norm.keys() != set()
    loaded.buffer.zero_()
    assert moved.input_tokens.rows.any()  # it looks at the copy


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_adapter_comes_back_from_host_memory_as_it_left(llama: Base, tmp_path: Path) -> None:
    write_adapter(tmp_path, "a")
    device = torch.device("cuda")
    loaded = read(Catalog(tmp_path).resolve("a"), torch.float32, CPU, replace(llama))
    before = loaded.buffer.clone()
    there = to_device(replace(loaded, transfer=replace(loaded.transfer, buffer=before.pin_memory())), device)
    torch.cuda.synchronize()
    assert there.transfer.done()
    kept = to_host(there)
    assert kept.buffer.is_pinned()
    assert torch.equal(kept.buffer, before)
    back = to_device(kept, device)
    torch.cuda.synchronize()
    assert torch.equal(back.buffer.cpu(), before)
