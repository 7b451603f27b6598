"""Binding LoRA's tensors to the base model's linears: all of them, exactly, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loraplex_adapters.courtesy import breathe
from loraplex_adapters.lora.parts import Parts
from loraplex_adapters.peft_config import LoraConfig
from loraplex_adapters.targets import Target
from loraplex_adapters.tensor_file import TensorSpec
from loraplex_kernels.lora import SiteShape

# Times a request's weight and a large activation, this is still far from what float32 holds. Trained adapters are
# below 1000.
LARGEST_SCALE = 1e6


@dataclass(frozen=True)
class BoundSite:
    """A site and the tensors of the file that adapt it."""

    name: str
    shape: SiteShape
    a: TensorSpec  # [rank, in]
    b: TensorSpec  # [out, rank]
    magnitude: TensorSpec | None  # [out], DoRA's m
    bias: TensorSpec | None  # [out], of lora_B


def bind_sites(
    parts: Parts, config: LoraConfig, targets: Sequence[Target], rows: Mapping[int, int]
) -> tuple[BoundSite, ...]:
    """Claim the tensors of every linear that the config selects; those that miss any are left out.

    Args:
        parts: of the file; collects what is missing or misshapen.
        config: of the adapter.
        targets: the linears.
        rows: outputs of the linears of which the adapter has others than the base; by index.
    """
    bound = [
        _bind_site(parts, config, target, rows.get(target.site.index, target.site.out_features)) for target in targets
    ]
    return tuple(site for site in bound if site is not None)


def _bind_site(parts: Parts, config: LoraConfig, target: Target, rows: int) -> BoundSite | None:
    breathe()
    site, rank = target.site, target.rank
    a = parts.need(site.name, "lora_A", (rank, site.in_features))
    b = parts.need(site.name, "lora_B", (rows, rank))
    magnitude = parts.need(site.name, "lora_magnitude_vector", (rows,)) if config.use_dora else None
    bias = parts.need(site.name, "lora_B.bias", (rows,)) if config.lora_bias else None
    if a is None or b is None or (config.use_dora and magnitude is None) or (config.lora_bias and bias is None):
        return None
    shape = SiteShape(site.index, site.in_features, rows, rank, target.scale, config.use_dora)
    return BoundSite(site.name, shape, a, b, magnitude, bias)


def overscaled(targets: Sequence[Target]) -> Iterator[str]:
    """A reason where any scale would make what it multiplies overflow."""
    found = [target for target in targets if abs(target.scale) > LARGEST_SCALE]
    if found:
        names = ", ".join(target.site.name for target in found)
        yield (
            f"{len(found)} linears have a scale beyond {LARGEST_SCALE:g}, such as {found[0].scale:g}, which would "
            f"overflow; look at lora_alpha and alpha_pattern: {names}"
        )
