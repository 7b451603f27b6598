from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from support.peft_files import Base, Write, Written

from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.fingerprint import CONFIG_FILE, TENSOR_FILE
from loraplex_adapters.package import inspect

Q0 = "base_model.model.model.layers.0.self_attn.q_proj"


def reasons(written: Written, base: Base) -> tuple[str, ...]:
    with pytest.raises(AdapterRefusedError) as refused:
        inspect(written.source, base.shape, torch.float32)
    return refused.value.reasons


def bound(written: Written, base: Base) -> list[str]:
    recipe = inspect(written.source, base.shape, torch.float32).recipe
    return [base.sites[shape.site].name for shape in recipe.sites]


def rename(old: str, new: str):
    def edit(tensors) -> None:
        for name in [name for name in tensors if old in name]:
            tensors[name.replace(old, new)] = tensors.pop(name)

    return edit


def test_every_tensor_finds_its_site(write: Write, llama: Base) -> None:
    assert bound(write(), llama) == [site.name for site in llama.sites if site.name.endswith(("q_proj", "v_proj"))]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (".lora_A.weight", ".lora_A.default.weight"),
        (".lora_B.weight", ".lora_B.default.weight"),
        (".lora_magnitude_vector", ".lora_magnitude_vector.weight"),
        (".lora_magnitude_vector", ".lora_magnitude_vector.default.weight"),
    ],
)
def test_names_are_taken_as_peft_takes_them(write: Write, llama: Base, old: str, new: str) -> None:
    written = write(use_dora=True)
    before = bound(written, llama)
    written.edit_tensors(rename(old, new))
    assert bound(written, llama) == before


def test_a_tensor_there_under_two_names_is_refused(write: Write, llama: Base) -> None:
    written = write()
    written.edit_tensors(lambda tensors: tensors.update({f"{Q0}.lora_A.default.weight": torch.zeros(8, 32)}))
    assert "there twice" in reasons(written, llama)[0]


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64])
def test_weights_that_are_integers_are_refused_by_name(write: Write, llama: Base, dtype: torch.dtype) -> None:
    written = write()
    key = f"{Q0}.lora_A.weight"
    written.edit_tensors(lambda tensors: tensors.update({key: tensors[key].to(dtype)}))
    (reason,) = reasons(written, llama)
    assert reason.startswith(f"tensor {key} is ")


def test_an_adapter_of_another_architecture_is_refused_with_all_names(write: Write, llama: Base) -> None:
    written = write(family="phi3", target_modules=["qkv_proj"])
    nothing, left = reasons(written, llama)
    assert nothing == "target_modules ['qkv_proj'] select no linear of this model"
    assert left.startswith("6 tensors bind to nothing, for a linear that this model does not have: ")
    assert all(f"layers.{layer}.self_attn.qkv_proj.lora_{m}.weight" in left for layer in range(3) for m in "AB")


def test_an_adapter_for_more_layers_is_refused(write: Write, llama: Base) -> None:
    sites = tuple(site for site in llama.sites if ".layers.2." not in site.name)
    (left,) = reasons(write(), replace(llama, shape=replace(llama.shape, sites=sites)))
    assert left.startswith("4 tensors bind to nothing, for a linear that this model does not have: ")


def test_tensors_that_the_config_does_not_select_are_refused(write: Write, llama: Base) -> None:
    written = write()
    written.edit_config(target_modules=["q_proj"])
    (left,) = reasons(written, llama)
    assert left.startswith("6 tensors bind to nothing, for a linear that the config does not select: ")
    assert "v_proj.lora_B.weight" in left


@pytest.mark.parametrize("part", ["lora_A", "lora_B", "lora_magnitude_vector"])
def test_a_missing_part_is_refused_by_site(write: Write, llama: Base, part: str) -> None:
    written = write(use_dora=True)
    written.edit_tensors(
        lambda tensors: [tensors.pop(name) for name in list(tensors) if f"0.self_attn.v_proj.{part}" in name]
    )
    assert reasons(written, llama) == (
        f"1 linears that the config selects have no {part} in the file: model.layers.0.self_attn.v_proj",
    )


def test_a_file_without_tensors_is_refused(write: Write, llama: Base) -> None:
    written = write()
    written.edit_tensors(dict.clear)
    assert [reason.split(" have ")[1][:9] for reason in reasons(written, llama)] == ["no lora_A", "no lora_B"]


def test_magnitudes_without_dora_in_the_config_are_refused(write: Write, llama: Base) -> None:
    written = write(use_dora=True)
    written.edit_config(use_dora=False)
    assert "use_dora is off" in reasons(written, llama)[0]


def test_every_wrong_shape_is_told_with_the_right_one(write: Write, llama: Base) -> None:
    written = write(r=4)

    def edit(tensors) -> None:
        tensors[f"{Q0}.lora_A.weight"] = torch.zeros(4, 33)
        tensors[f"{Q0}.lora_B.weight"] = torch.zeros(4, 32)

    written.edit_tensors(edit)
    assert reasons(written, llama) == (
        f"{Q0}.lora_A.weight has shape [4, 33], expected [4, 32]",
        f"{Q0}.lora_B.weight has shape [4, 32], expected [32, 4]",
    )


def test_a_rank_that_is_not_the_configs_is_refused(write: Write, llama: Base) -> None:
    written = write(r=4)
    written.edit_config(r=5)
    found = reasons(written, llama)
    assert len(found) == 12
    assert found[0].endswith("has shape [4, 32], expected [5, 32]")


def test_loras_for_an_embedding_that_the_config_does_not_select_are_refused(write: Write, llama: Base) -> None:
    written = write(target_modules=["q_proj", "embed_tokens"])
    written.edit_config(target_modules=["q_proj"])
    saved, left = reasons(written, llama)
    assert left.startswith("2 tensors bind to nothing, for a module that the config does not select: ")
    assert "embed_tokens.lora_embedding_A" in left
    assert saved.endswith("save_embedding_layers=False: base_model.model.model.embed_tokens.base_layer.weight")


def test_whole_weights_that_the_config_does_not_name_are_refused_with_the_way_out(write: Write, llama: Base) -> None:
    written = write()
    key = "base_model.model.model.layers.0.mlp.up_proj.weight"
    written.edit_tensors(lambda tensors: tensors.update({key: torch.zeros(56, 32)}))
    (left,) = reasons(written, llama)
    assert left.endswith(f"where they are unchanged, save with save_embedding_layers=False: {key}")


def test_biases_that_the_config_does_not_name_are_refused(write: Write, llama: Base) -> None:
    written = write(lora_bias=True)
    written.edit_config(lora_bias=False)
    assert reasons(written, llama)[0].startswith("6 tensors bind to nothing, the config's lora_bias is off: ")


def test_names_of_another_tool_are_refused(write: Write, llama: Base) -> None:
    written = write()
    written.edit_tensors(rename("base_model.model.", ""))
    left = reasons(written, llama)[0]
    assert "not named as PEFT names them" in left


def test_no_config_is_refused(write: Write, llama: Base) -> None:
    written = write()
    (written.folder / CONFIG_FILE).unlink()
    assert reasons(written, llama) == (f"there is no {CONFIG_FILE}",)


def test_pissa_is_refused_until_it_was_converted(write: Write, llama: Base, tmp_path) -> None:
    written = write(init_lora_weights="pissa", target_modules=["q_proj"])
    assert "path_initial_model_for_weight_conversion" in reasons(written, llama)[0]
    initial = tmp_path / "initial"
    shutil.copytree(written.folder, initial)
    (initial / CONFIG_FILE).write_text(
        json.dumps(json.loads((initial / CONFIG_FILE).read_text()) | {"init_lora_weights": True})
    )
    converted = Written(written.peft, tmp_path / "converted")
    written.peft.save_pretrained(converted.folder, path_initial_model_for_weight_conversion=str(initial))
    assert len(bound(converted, llama)) == 3
    assert (converted.folder / TENSOR_FILE).exists()


@pytest.mark.parametrize("alpha", [1e300, -1e300, 1e38])
def test_a_scale_that_would_overflow_is_refused(write: Write, llama: Base, alpha: float) -> None:
    written = write()
    written.edit_config(lora_alpha=alpha)
    (reason,) = reasons(written, llama)
    assert reason.startswith("6 linears have a scale beyond 1e+06")
    written.edit_config(lora_alpha=1, alpha_pattern={"layers.1.self_attn.q_proj": alpha})
    (reason,) = reasons(written, llama)
    assert reason.startswith("1 linears")
    assert reason.endswith("lora_alpha and alpha_pattern: model.layers.1.self_attn.q_proj")


def test_a_config_that_is_a_pipe_is_refused_and_never_opened(write: Write, llama: Base) -> None:
    written = write()
    (written.folder / CONFIG_FILE).unlink()
    os.mkfifo(written.folder / CONFIG_FILE)
    assert reasons(written, llama) == (f"{CONFIG_FILE} is no regular file",)
