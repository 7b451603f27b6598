"""Adapters of PEFT's other methods, every trained parameter random, held against PEFT's own layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import PeftConfig, get_peft_model
from support.peft_files import Base, Written, make_base
from torch import Tensor, nn

from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.loading import LoadedAdapter, read
from loraplex_kernels.lora import site_weights

PREFIX = "base_model.model."
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Tuned(Written):
    """An adapter of any method, and the base as it is served."""

    base: Base

    def load(self, dtype: torch.dtype = torch.float32) -> LoadedAdapter:
        return read(self.source, dtype, CPU, self.base)

    def refusal(self) -> str:
        """All reasons why it is refused."""
        with pytest.raises(AdapterRefusedError) as refused:
            self.load()
        return "; ".join(refused.value.reasons)

    def layer(self, site: str) -> nn.Module:
        """PEFT's wrapper of a linear."""
        return self.peft.get_submodule(PREFIX + site)

    def sites(self, kind: type[nn.Module]) -> list[str]:
        """Linears that PEFT wrapped."""
        return [name.removeprefix(PREFIX) for name, module in self.peft.named_modules() if isinstance(module, kind)]

    def delta(self, site: str) -> Tensor:
        """What PEFT adds to a weight `[out, in]`, from its forward."""
        layer = self.layer(site)
        eye = torch.eye(layer.base_layer.in_features)
        with torch.no_grad():
            return (layer(eye) - layer.base_layer(eye)).T


Tune = Callable[..., Tuned]


@pytest.fixture
def tune(tmp_path: Path, bases: dict[str, Base]) -> Tune:
    """`tune(config, family=..., spread=...)` saves an adapter; the spread is that of its random parameters."""

    def tune(config: PeftConfig, family: str = "llama", spread: float = 0.3) -> Tuned:
        base = make_base(family)
        torch.manual_seed(1)
        peft = get_peft_model(base.model, config).eval()
        for parameter in peft.parameters():
            if parameter.requires_grad:
                nn.init.normal_(parameter, std=spread)
        peft.save_pretrained(tmp_path / "adapter")
        return Tuned(peft, tmp_path / "adapter", bases[family])

    return tune


def deltas(loaded: LoadedAdapter, base: Base) -> dict[str, Tensor]:
    """`scale * B A` of every site that the loaded adapter has, float64 `[out, in]`, by name."""
    found = {}
    for placement in loaded.layout.placements:
        weights = site_weights(loaded.buffer, placement, torch.float32)
        delta = weights.scale * weights.b.double().T @ weights.a.double()
        found[base.sites[placement.shape.site].name] = delta
    return found
