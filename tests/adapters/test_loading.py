from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.tuners.lora import LoraLayer
from support import peft_effects as effects
from support.peft_files import Base, Write, Written, make_base, read_again
from torch import Tensor

from loraplex_adapters.errors import AdapterError, AdapterRefusedError
from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.loading import LoadedAdapter, load, read
from loraplex_adapters.package import inspect
from loraplex_adapters.pieces import PIECE, all_finite
from loraplex_kernels.lora import AdapterTable, SiteWeights, site_weights

CPU = torch.device("cpu")
Q0 = "model.layers.0.self_attn.q_proj"

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"r": 5, "lora_alpha": 7},
    "all linear": {"r": 3, "target_modules": "all-linear"},
    "rslora": {"r": 6, "use_rslora": True, "target_modules": ["o_proj", "down_proj"]},
    "patterns": {
        "target_modules": ["q_proj", "up_proj"],
        "rank_pattern": {"q_proj": 3, r"layers\.1\.mlp\.up_proj": 9},
        "alpha_pattern": {"up_proj": 30},
    },
    "dora": {"r": 4, "use_dora": True, "target_modules": "all-linear"},
    "dora, rslora, patterns": {
        "use_dora": True,
        "use_rslora": True,
        "target_modules": ["k_proj", "down_proj"],
        "rank_pattern": {"k_proj": 2},
    },
    "head": {"r": 4, "target_modules": ["q_proj", "lm_head"]},
    "head, dora": {"r": 4, "target_modules": ["lm_head"], "use_dora": True},
    "rank above the width": {"r": 70, "target_modules": ["k_proj"]},
    "phi3": {"family": "phi3", "target_modules": ["qkv_proj", "gate_up_proj"]},
    "phi3, dora": {"family": "phi3", "target_modules": "all-linear", "use_dora": True},
    "gemma3, tied head": {"family": "gemma3", "target_modules": ["lm_head", "o_proj"]},
    "qwen2": {"family": "qwen2", "target_modules": "all-linear", "exclude_modules": ["down_proj"]},
}


def read_for(written: Written, base: Base, dtype: torch.dtype = torch.float32) -> LoadedAdapter:
    return read(written.source, dtype, CPU, base)


def weights_of(loaded: LoadedAdapter, base: Base, name: str, dtype: torch.dtype = torch.float32) -> SiteWeights:
    index = base.site(name).index
    placement = next(p for p in loaded.layout.placements if p.shape.site == index)
    return site_weights(loaded.buffer, placement, dtype)


def peft_layers(written: Written) -> dict[str, LoraLayer]:
    modules = written.peft.base_model.model.named_modules()
    return {name: module for name, module in modules if isinstance(module, LoraLayer)}


def pefts_factor(layer: LoraLayer) -> Tensor:
    """m / ||W + scale B A||, from PEFT's own parts."""
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    dora = layer.lora_magnitude_vector["default"]
    return dora.weight / dora.get_weight_norm(layer.get_base_layer().weight, b @ a, layer.scaling["default"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_are_those_that_peft_holds(write: Write, bases: dict[str, Base], variant: str) -> None:
    options = VARIANTS[variant]
    written, base = write(**options), bases[options.get("family", "llama")]
    layers = peft_layers(written)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        loaded = read_for(written, base, dtype)
        assert loaded.touches == {base.site(name).index for name in layers}
        assert loaded.magnitude == ("use_dora" in options)
        assert loaded.buffer.numel() == loaded.layout.nbytes
        for name, layer in layers.items():
            ours = weights_of(loaded, base, name, dtype)
            assert torch.equal(ours.a, layer.lora_A["default"].weight.to(dtype))
            assert torch.equal(ours.b, layer.lora_B["default"].weight.to(dtype).t())
            assert ours.scale == layer.scaling["default"]
            assert (ours.magnitude is not None) == loaded.magnitude
            if ours.magnitude is not None:
                tolerance = 1e-6 if dtype is torch.float32 else 1e-2  # of A and B as they are served
                torch.testing.assert_close(ours.magnitude, pefts_factor(layer), rtol=tolerance, atol=0)


@pytest.mark.parametrize("saved", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("served", [torch.float32, torch.bfloat16, torch.float16])
def test_any_float_dtype_of_the_file_is_converted(write: Write, llama: Base, saved, served) -> None:
    written = write(r=5, use_dora=True)
    written.edit_tensors(lambda tensors: tensors.update({key: value.to(saved) for key, value in tensors.items()}))
    ours = weights_of(read_for(written, llama, served), llama, Q0, served)
    layer = peft_layers(written)[Q0]
    assert torch.equal(ours.a, layer.lora_A["default"].weight.to(saved).to(served))
    assert torch.equal(ours.b, layer.lora_B["default"].weight.to(saved).to(served).t())


def test_the_norms_are_of_the_base_as_it_is_served(write: Write, llama: Base) -> None:
    written = write(use_dora=True)
    base = replace(llama, served=lambda weight: (weight * 8).round() / 8)
    loaded = read(written.source, torch.float32, CPU, base)
    ours = weights_of(loaded, llama, Q0)
    layer = peft_layers(written)[Q0]
    norm = torch.linalg.norm(base.site_weight(llama.site(Q0).index) + ours.scale * ours.b.t() @ ours.a, dim=1)
    torch.testing.assert_close(ours.magnitude, layer.lora_magnitude_vector["default"].weight / norm)


def test_a_plain_adapter_never_asks_for_base_weights(write: Write, llama: Base) -> None:
    def never(weight: Tensor) -> Tensor:
        raise AssertionError(weight.shape)

    read(write().source, torch.float32, CPU, replace(llama, served=never))


def test_what_was_read_fits_the_table(write: Write, llama: Base) -> None:
    loaded = read_for(write(r=3), llama)
    table = AdapterTable(2, len(llama.sites), torch.float32, CPU)
    table.install(1, loaded.layout, loaded.buffer)
    index = llama.site(Q0).index
    found = table.weights(1, index)
    assert found is not None
    assert table.rank[1, index] == 3
    assert torch.equal(found.a, weights_of(loaded, llama, Q0).a)


def test_the_generation_is_the_contents_and_not_the_places(write: Write, llama: Base) -> None:
    first, same, other = write("first", seed=1), write("same", seed=1), write("other", seed=2)
    generations = [read_for(written, llama).generation for written in (first, same, other)]
    assert generations[0] == generations[1] != generations[2]
    assert read_for(first, llama, torch.bfloat16).generation == generations[0]
    first.edit_config(lora_alpha=99)
    assert read_for(first, llama).generation not in generations


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("part", ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"])
def test_a_weight_that_is_no_number_is_refused_by_name(write: Write, llama: Base, value: float, part: str) -> None:
    written = write(use_dora=True)
    key = f"base_model.model.{Q0}.{part}"
    written.edit_tensors(lambda tensors: tensors[key].view(-1)[-1:].fill_(value))
    with pytest.raises(AdapterRefusedError) as refused:
        read_for(written, llama)
    assert refused.value.reasons == (f"{key} holds an infinity or NaN, or a value too large for torch.float32",)


def test_a_weight_too_large_for_the_served_dtype_is_refused(write: Write, llama: Base) -> None:
    written = write()
    written.edit_tensors(lambda tensors: tensors[f"base_model.model.{Q0}.lora_B.weight"].fill_(70_000.0))
    read_for(written, llama, torch.bfloat16)
    with pytest.raises(AdapterRefusedError, match="too large for torch"):
        read_for(written, llama, torch.float16)


def test_a_norm_of_zero_is_refused(write: Write, llama: Base) -> None:
    written = write(use_dora=True, target_modules=["q_proj"])
    written.edit_tensors(lambda tensors: tensors[f"base_model.model.{Q0}.lora_B.weight"][3].zero_())

    def without_a_row(weight: Tensor) -> Tensor:
        found = weight.clone()
        found[3] = 0
        return found

    with pytest.raises(AdapterRefusedError) as refused:
        read(written.source, torch.float32, CPU, replace(llama, served=without_a_row))
    assert refused.value.reasons == (f"{Q0} has an output whose weights are all zero, so that DoRA divides by zero",)


@pytest.mark.parametrize("saved", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("served", [torch.float32, torch.bfloat16])
def test_pefts_copy_of_the_head_takes_no_room_where_it_is_the_bases(write: Write, llama: Base, saved, served) -> None:
    written = write(target_modules=["lm_head"])
    key = "base_model.model.lm_head.base_layer.weight"
    written.edit_tensors(lambda tensors: tensors.update({key: tensors[key].to(saved)}))
    base = replace(llama, served=lambda weight: weight.to(served))
    at_most = inspect(written.source, base.shape, torch.float32).nbytes
    exactly = inspect(written.source, base.shape, torch.float32, base).nbytes
    loaded = read(written.source, torch.float32, CPU, base)
    assert at_most - exactly == 96 * 32 * 4
    assert loaded.buffer.numel() == loaded.layout.nbytes == exactly
    assert (loaded.terms.weight, loaded.traits.terms, loaded.traits.head) == ({}, False, False)


@pytest.mark.parametrize("dora", [False, True])
def test_pefts_copy_of_another_head_is_served_as_peft_would_load_it(write: Write, llama: Base, dora: bool) -> None:
    """With the update multiplied out: the kernels' own update is for the base's head."""
    written = write(target_modules=["lm_head"], use_dora=dora)
    key = "base_model.model.lm_head.base_layer.weight"
    changed = llama.model.lm_head.weight.data.clone()
    changed[95, 31] += 0.5
    written.edit_tensors(lambda tensors: tensors.update({key: changed}))
    loaded = read_for(written, llama)
    again = read_again(written, make_base("llama").model)
    assert torch.equal(again.peft.base_model.model.lm_head.base_layer.weight, changed)
    effects.assert_same(effects.by_loading(loaded, llama), effects.by_peft(again, llama))
    assert (loaded.touches, loaded.magnitude, loaded.traits.head) == (frozenset(), False, True)


def test_files_replaced_after_they_were_checked_are_an_error(write: Write, llama: Base) -> None:
    first, second = write("first", r=4), write("second", r=4, seed=9)
    package = inspect(first.source, llama.shape, torch.float32)
    (second.folder / TENSOR_FILE).replace(first.folder / TENSOR_FILE)
    with pytest.raises(AdapterError, match="was replaced while it was being read"):
        load(package, CPU, llama)


def test_a_file_half_written_while_it_is_read_is_no_refusal(write: Write, llama: Base) -> None:
    """It would be a 4xx for whoever asks; but asked again, it is fine."""
    written = write()
    package = inspect(written.source, llama.shape, torch.float32)
    path = written.folder / TENSOR_FILE
    path.write_bytes(path.read_bytes()[:-4] + b"\xff\xff\xff\xff")
    with pytest.raises(AdapterError, match="was replaced") as raised:
        load(package, CPU, llama)
    assert not isinstance(raised.value, AdapterRefusedError)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@given(size=st.sampled_from([1, 5, PIECE, PIECE + 1, 2 * PIECE + 3]), at=st.integers(0, 10**6))
def test_one_bad_value_anywhere_is_found(dtype: torch.dtype, bad: float, size: int, at: int) -> None:
    values = torch.full((size,), torch.finfo(dtype).max, dtype=dtype)
    values[: size // 2] = torch.finfo(dtype).min
    assert all_finite(values)
    values[at % size] = bad
    assert not all_finite(values)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_gets_the_same_bytes_without_anybody_waiting(write: Write, llama: Base) -> None:
    written, device = write(use_dora=True, target_modules="all-linear"), torch.device("cuda")
    on_host = read_for(written, llama)
    loaded = read(written.source, torch.float32, device, replace(llama, served=lambda weight: weight.to(device)))
    while not loaded.transfer.done():
        pass
    placements = zip(on_host.layout.placements, loaded.layout.placements, strict=True)
    for ours, theirs in placements:
        host = site_weights(on_host.buffer, ours, torch.float32)
        found = site_weights(loaded.buffer.cpu(), theirs, torch.float32)
        assert torch.equal(host.a, found.a)
        assert torch.equal(host.b, found.b)
        torch.testing.assert_close(host.magnitude, found.magnitude, rtol=1e-4, atol=0)
