"""Adapters as PEFT writes them, with every trained parameter away from where PEFT starts it."""

from __future__ import annotations

import copy
import warnings
import zlib
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from conformance.case import Case
from conformance.families import Family


def write(case: Case, family: Family, base: PreTrainedModel, folder: Path) -> None:
    """Save the case's adapter for this base; the base itself is left as it is."""
    model = copy.deepcopy(base)
    seed = zlib.crc32(f"{case.id} {family.name}".encode())
    torch.manual_seed(seed)
    # What PEFT warns of here (no tokenizer, an ignored option, a tied weight) is part of the cases.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if case.prepare is not None:
            case.prepare(model)
        config = case.config(family)
        if case.write is not None:
            case.write(model, config, folder)
        else:
            trained(model, config, case.spread).save_pretrained(folder)
    if case.edit is not None:
        case.edit(folder)


def trained(model: PreTrainedModel, config: PeftConfig, spread: float = 0.15) -> PeftModel:
    """The model with the adapter on it, as if after a training that moved everything that it may move."""
    peft = get_peft_model(model, config)
    scatter(peft, spread)
    return peft


@torch.no_grad()
def scatter(model: torch.nn.Module, spread: float = 0.15) -> None:
    """Noise on every parameter that asks for gradients."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(spread * torch.randn_like(parameter))
