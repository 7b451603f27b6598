"""How a LoRA was initialised: harmless, or a change of the base that the adapter does not carry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, initialize_lora_eva_weights
from peft.tuners.lora.config import LoraGAConfig
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.lora.loraga import preprocess_loraga
from transformers import PreTrainedModel

from conformance.case import Case, refused, served
from conformance.cases.lora import lora
from conformance.edit import edited
from conformance.write import scatter

Setup = Callable[[PreTrainedModel, LoraConfig], None]
TEXT = torch.arange(3, 147).reshape(12, 12)


def run_model(model: PreTrainedModel, config: LoraConfig) -> None:
    """CorDA looks at the covariance of what flows through."""

    @torch.no_grad()
    def run() -> None:
        for row in TEXT:
            model(row[None])

    preprocess_corda(model, config, run_model=run)


def run_backward(model: PreTrainedModel, config: LoraConfig) -> None:
    """LoRA-GA looks at gradients."""

    def step() -> None:
        model(TEXT, labels=TEXT).loss.backward()

    preprocess_loraga(model, config, step)


def nothing(model: PreTrainedModel, config: LoraConfig) -> None:
    """Most initialisations look at the weights alone."""


def converted(setup: Setup = nothing) -> Callable[[PreTrainedModel, PeftConfig, Path], None]:
    """Save by PEFT's own way to turn what was trained into a plain LoRA for the base as it was published."""

    def write(model: PreTrainedModel, config: PeftConfig, folder: Path) -> None:
        peft = _initialised(model, config, setup)
        name = config.init_lora_weights
        peft.peft_config["default"].init_lora_weights = True
        start = folder.with_name(folder.name + "-start")
        peft.save_pretrained(start)
        peft.peft_config["default"].init_lora_weights = name
        scatter(peft)
        peft.save_pretrained(folder, path_initial_model_for_weight_conversion=start)

    return write


def as_trained(setup: Setup = nothing) -> Callable[[PreTrainedModel, PeftConfig, Path], None]:
    """Save what was trained as it is."""

    def write(model: PreTrainedModel, config: PeftConfig, folder: Path) -> None:
        peft = _initialised(model, config, setup)
        scatter(peft)
        peft.save_pretrained(folder)

    return write


def _initialised(model: PreTrainedModel, config: PeftConfig, setup: Setup) -> PeftModel:
    setup(model, config)
    model.zero_grad()
    return get_peft_model(model, config)


def write_eva(model: PreTrainedModel, config: PeftConfig, folder: Path) -> None:
    """EVA spreads its ranks over the linears, and leaves them in the patterns of the config."""
    peft = get_peft_model(model, config)
    initialize_lora_eva_weights(
        peft, [{"input_ids": TEXT, "attention_mask": torch.ones_like(TEXT)}], show_progress_bar=False
    )
    scatter(peft)
    peft.save_pretrained(folder)


def _mutating(name: str, setup: Setup = nothing, **options: object) -> tuple[Case, Case]:
    config = lora(init_lora_weights=name, **options)
    return (
        refused(
            "LORA",
            f"init_lora_weights='{name}'",
            config,
            "init_lora_weights",
            name,
            "path_initial_model_for_weight_conversion",
            write=as_trained(setup),
        ),
        served("LORA", f"init_lora_weights='{name}', converted when saved", config, write=converted(setup)),
    )


CASES: tuple[Case, ...] = (
    *(
        served("LORA", f"init_lora_weights={init!r}", lora(init_lora_weights=init))
        for init in (False, "gaussian", "orthogonal")
    ),
    served("LORA", "init_lora_weights='mica'", lora(init_lora_weights="mica")),
    served("LORA", "init_lora_weights='eva'", lora(init_lora_weights="eva"), write=write_eva),
    *_mutating("pissa"),
    *_mutating("pissa_niter_4"),
    *_mutating("olora"),
    *_mutating("corda", run_model),
    *_mutating("lora_ga", run_backward, lora_ga_config=LoraGAConfig()),
    refused(
        "LORA",
        "init_lora_weights='loftq'",
        lora(),
        "init_lora_weights",
        "loftq",
        edit=edited(init_lora_weights="loftq", loftq_config={"loftq_bits": 4}),
    ),
)
