"""The same adapters in the files that other versions of PEFT, other dtypes and other tools leave behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from peft import PeftConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, PreTrainedModel

from conformance.case import Case, refused, served
from conformance.cases.lora import lora
from conformance.edit import CONFIG, TENSORS, rewritten
from conformance.families import FAMILIES
from conformance.write import scatter, trained

# Of PEFT 0.2, the first version that was widely used.
FIRST_KEYS = [
    "base_model_name_or_path",
    "bias",
    "fan_in_fan_out",
    "inference_mode",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "peft_type",
    "r",
    "target_modules",
    "task_type",
]


def _as(dtype: torch.dtype) -> Callable[[Path], None]:
    return rewritten(lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})


def _mixed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    dtypes = [torch.float32, torch.bfloat16, torch.float16]
    return {name: tensor.to(dtypes[i % 3]) for i, (name, tensor) in enumerate(sorted(tensors.items()))}


def _old_config(folder: Path) -> None:
    values = json.loads((folder / CONFIG).read_text())
    kept = {key: values[key] for key in FIRST_KEYS} | {"merge_weights": False, "enable_lora": None}
    (folder / CONFIG).write_text(json.dumps(kept))


def _much_metadata(folder: Path) -> None:
    extra = {"format": "pt", **{f"note-{i}": "trained on\nmany things \u00e9\u4e16" * 20 for i in range(50)}}
    save_file(load_file(folder / TENSORS), folder / TENSORS, metadata=extra)
    with safe_open(folder / TENSORS, "pt") as file:
        assert len(file.metadata()) == 51


def _other_files(folder: Path) -> None:
    """What Trainer leaves in a checkpoint's folder."""
    for name in ("optimizer.pt", "training_args.bin", "rng_state.pth"):
        (folder / name).write_bytes(b"not a tensor")
    (folder / "trainer_state.json").write_text("{}")


def write_named(model: PreTrainedModel, config: PeftConfig, folder: Path) -> None:
    """Of an adapter that is not called default, PEFT makes a folder inside."""
    peft = get_peft_model(model, config, adapter_name="policy")
    scatter(peft)
    peft.save_pretrained(folder.with_name(folder.name + "-all"))
    shutil.move(folder.with_name(folder.name + "-all") / "policy", folder)


def write_several(model: PreTrainedModel, config: PeftConfig, folder: Path) -> None:
    """Several adapters saved at once: the default one lies at the top, the other beside its files."""
    peft = trained(model, config)
    peft.add_adapter("other", lora(r=7)(FAMILIES["llama"]))
    peft.set_adapter("other")
    scatter(peft)
    peft.set_adapter("default")
    peft.save_pretrained(folder)


def write_half(model: PreTrainedModel, config: PeftConfig, folder: Path) -> None:
    """Trained on a base in bfloat16, with the adapter in bfloat16 too."""
    trained(model.to(torch.bfloat16), config).to(torch.bfloat16).save_pretrained(folder)


def write_embeddings(model: PreTrainedModel, config: PeftConfig, folder: Path) -> None:
    """With copies of the base's embedding and output layer, which nobody trained."""
    trained(model, config).save_pretrained(folder, save_embedding_layers=True)


def write_pickled(model: PreTrainedModel, config: PeftConfig, folder: Path) -> None:
    """The format of old."""
    trained(model, config).save_pretrained(folder, safe_serialization=False)


def write_backbone(model: PreTrainedModel, config: PeftConfig, folder: Path) -> None:
    """Trained on the decoder without its head, so that no name fits the whole model."""
    backbone = AutoModel.from_pretrained(model.name_or_path, dtype=torch.float32)
    trained(backbone, config).save_pretrained(folder)


def _without_first(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(sorted(tensors.items())[1:])


def _other_head(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: 1.3 * tensor if "base_layer" in name else tensor for name, tensor in tensors.items()}


HEAD = lora(target_modules=["q_proj", "lm_head"])

CASES: tuple[Case, ...] = (
    served("files", "the config of PEFT 0.2", lora(), edit=_old_config),
    served("files", "tensors in bfloat16", lora(), edit=_as(torch.bfloat16)),
    served("files", "tensors in float16", lora(), edit=_as(torch.float16)),
    refused("files", "tensors in float64", lora(), "F64", edit=_as(torch.float64)),
    served("files", "tensors in several dtypes", lora(), edit=rewritten(_mixed)),
    served("files", "trained on a bfloat16 base, DoRA", lora(use_dora=True), write=write_half),
    served(
        "files",
        "modules_to_save in bfloat16",
        lora(modules_to_save=["lm_head", "norm"]),
        "low rank, terms",
        edit=_as(torch.bfloat16),
    ),
    served("files", "__metadata__ beyond PEFT's", lora(), edit=_much_metadata),
    served("files", "a Trainer's checkpoint around it", lora(), edit=_other_files),
    served("files", "of an adapter that is not called default", lora(), write=write_named),
    served("files", "of several adapters saved at once", lora(), write=write_several),
    served(
        "files",
        "lm_head copied by PEFT, but not as it is in the base",
        HEAD,
        "low rank, terms",
        edit=rewritten(_other_head),
    ),
    served(
        "files",
        "save_embedding_layers=True",
        lora(),
        "low rank, terms",
        families=("llama", "qwen2"),
        write=write_embeddings,
    ),
    refused("files", "adapter_model.bin", lora(), "safetensors", write=write_pickled),
    refused(
        "files",
        "trained on the backbone alone (AutoModel)",
        lora(task_type="FEATURE_EXTRACTION"),
        "bind to nothing",
        write=write_backbone,
    ),
    refused("files", "a tensor missing", lora(), "lora_A", "no", edit=rewritten(_without_first)),
)
