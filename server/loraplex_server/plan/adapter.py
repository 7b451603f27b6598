"""What one adapter takes in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loraplex_adapters.page import whole_pages
from loraplex_adapters.peft_config import ALL_LINEAR, LoraConfig
from loraplex_adapters.targets import name_matcher, select_targets
from loraplex_kernels import adapter_layout
from loraplex_kernels.adapter_layout import SiteShape
from loraplex_server.plan.asked import Asked
from loraplex_server.plan.error import PlanError
from loraplex_server.plan.model import PlannedModel, itemsize


@dataclass(frozen=True)
class PlannedAdapter:
    """One of many that are alike.

    Args:
        about: what it is, for people.
        nbytes: of its weights in memory.
        weights: of A and B, which a row that uses it is multiplied by.
        linears: that it binds to.
    """

    about: str
    nbytes: int
    weights: int
    linears: int

    @property
    def pages(self) -> int:
        """Bytes with what it lacks to whole pages."""
        return whole_pages(self.nbytes)


def lora_adapter(model: PlannedModel, asked: Asked, device: str, rank: int, targets: Sequence[str]) -> PlannedAdapter:
    """A LoRA of one rank.

    Args:
        model: that it is for; or one rank's part of it.
        asked: the settings.
        device: cpu or cuda.
        rank: r.
        targets: ends of module names, as PEFT's target_modules; none: all linears.

    Raises:
        PlanError: a target is no linear of the model.
    """
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=tuple(targets) or ALL_LINEAR)
    sites = model.blueprint.sites()
    names = [site.name for site in sites]
    chosen = [target.site for target in select_targets(config, sites)]
    unknown = [name for name in targets if not any(map(name_matcher([name]), names))]
    if unknown or not chosen:
        known = sorted({name.rpartition(".")[2] for name in names})
        raise PlanError(f"--targets: {model.name} has no linear {', '.join(unknown)}; it has {', '.join(known)}")
    shapes = [SiteShape(site.index, site.in_features, site.out_features, rank, 1.0) for site in chosen]
    dtype = model.dtype(asked.dtype, device)
    layout = adapter_layout.plan(shapes, itemsize(dtype), int8=asked.adapter_dtype == "int8")
    kinds = ", ".join(sorted({site.name.rpartition(".")[2] for site in chosen}))
    about = f"rank {rank} on {len(chosen)} linears ({kinds}), {_format(asked, dtype)}"
    return PlannedAdapter(about, layout.nbytes, _weights(shapes), len(chosen))


def adapter_of_folder(model: PlannedModel, asked: Asked, device: str, folder: Path) -> PlannedAdapter:
    """One that is there, inspected by the code that loads it; this takes torch.

    Raises:
        PlanError: it does not fit the model, with all the reasons.
    """
    import torch

    from loraplex_adapters.errors import AdapterError, AdapterRefusedError
    from loraplex_adapters.fingerprint import fingerprint
    from loraplex_adapters.package import inspect
    from loraplex_adapters.source import AdapterSource

    if not folder.is_dir():
        raise PlanError(f"--adapter: {folder} is no folder")
    dtype = model.dtype(asked.dtype, device)
    source = AdapterSource(name=folder.name, path=str(folder), fingerprint=fingerprint(str(folder)))
    base = model.blueprint.shape(model.config, tied=model.config.tie_embeddings)
    try:
        package = inspect(source, base, getattr(torch, dtype), int8=asked.adapter_dtype == "int8")
    except AdapterRefusedError as error:
        raise PlanError(f"--adapter: {folder} would be refused: {'; '.join(error.reasons)}") from error
    except (AdapterError, OSError) as error:
        raise PlanError(f"--adapter: {error}") from error
    sites = package.recipe.sites
    ranks = sorted({site.rank for site in sites})
    about = (
        f"{folder.name}: rank {', '.join(map(str, ranks)) or 'none'} on {len(sites)} linears, {_format(asked, dtype)}"
    )
    return PlannedAdapter(about, package.nbytes, _weights(sites), len(sites))


def _format(asked: Asked, dtype: str) -> str:
    return "int8" if asked.adapter_dtype == "int8" else dtype


def _weights(shapes: Sequence[SiteShape]) -> int:
    return sum(shape.rank * (shape.in_features + shape.out_features) for shape in shapes)
