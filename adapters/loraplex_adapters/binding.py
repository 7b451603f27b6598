"""Binding an adapter's tensors to the base model's linears: all of them, exactly, or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from loraplex_adapters.courtesy import breathe
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.peft_config import LoraConfig
from loraplex_adapters.site import Site
from loraplex_adapters.targets import Target, select_targets
from loraplex_adapters.tensor_file import TensorSpec, not_floats
from loraplex_adapters.tensor_name import Part, parse_name, why_unbound
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
    base: TensorSpec | None  # [out, in]: a copy of the weight that it was trained on, which PEFT adds for lm_head


def bind(
    name: str, tensors: Mapping[str, TensorSpec], config: LoraConfig, sites: Sequence[Site]
) -> tuple[BoundSite, ...]:
    """Find the tensors of every site that the config selects, and a site for every tensor.

    Args:
        name: of the adapter, for the message.
        tensors: of the file.
        config: of the adapter.
        sites: all linears of the base model.

    Raises:
        AdapterRefusedError: naming everything that is missing, left over, of the wrong shape or scaled beyond reason.
    """
    targets = select_targets(config, sites)
    parts, leftover = _sort_by_site(tensors)
    reasons = [*not_floats(tensors.values()), *_unbound(parts, leftover, sites, targets)]
    if not targets:
        reasons.insert(0, f"target_modules {_shown(config)} select no linear of this model")
    reasons += _missing(parts, targets, config.use_dora)
    reasons += _misshapen(parts, targets)
    reasons += _overscaled(targets)
    if reasons:
        raise AdapterRefusedError(name, reasons)
    return tuple(_bound(target, parts[target.site.name], config.use_dora) for target in targets)


Parts = Mapping[str, Mapping[Part, TensorSpec]]


def _sort_by_site(tensors: Mapping[str, TensorSpec]) -> tuple[Parts, dict[str, list[str]]]:
    """The tensors by site name and part, and the names of those that are neither, by what is wrong with them."""
    parts: dict[str, dict[Part, TensorSpec]] = defaultdict(dict)
    leftover: dict[str, list[str]] = defaultdict(list)
    for spec in tensors.values():
        breathe()
        parsed = parse_name(spec.name)
        if parsed is None:
            leftover[why_unbound(spec.name)].append(spec.name)
        elif parsed.part in parts[parsed.site]:
            leftover["there twice, with and without the adapter's name"].append(spec.name)
        else:
            parts[parsed.site][parsed.part] = spec
    return parts, leftover


def _unbound(
    parts: Parts, leftover: dict[str, list[str]], sites: Sequence[Site], targets: Sequence[Target]
) -> Iterator[str]:
    known = {site.name for site in sites}
    selected = {target.site.name for target in targets}
    for site, found in parts.items():
        names = [spec.name for spec in found.values()]
        if site not in known:
            leftover["for a linear that this model does not have"] += names
        elif site not in selected:
            leftover["for a linear that the config does not select"] += names
    for what, names in leftover.items():
        yield f"{len(names)} tensors bind to nothing, {what}: {', '.join(names)}"


def _missing(parts: Parts, targets: Sequence[Target], dora: bool) -> Iterator[str]:
    needed: list[Part] = ["lora_A", "lora_B"]
    if dora:
        needed.append("lora_magnitude_vector")
    for part in needed:
        without = [target.site.name for target in targets if part not in parts.get(target.site.name, {})]
        if without:
            yield f"{len(without)} linears that the config selects have no {part} in the file: {', '.join(without)}"
    if not dora:
        extra = [t.site.name for t in targets if "lora_magnitude_vector" in parts.get(t.site.name, {})]
        if extra:
            yield f"the file has DoRA magnitudes, but the config's use_dora is off: {', '.join(extra)}"


def _misshapen(parts: Parts, targets: Sequence[Target]) -> Iterator[str]:
    for target in targets:
        breathe()
        site = target.site
        expected: dict[Part, tuple[int, ...]] = {
            "lora_A": (target.rank, site.in_features),
            "lora_B": (site.out_features, target.rank),
            "lora_magnitude_vector": (site.out_features,),
            "base_layer": (site.out_features, site.in_features),
        }
        for part, spec in parts.get(site.name, {}).items():
            if spec.shape != expected[part]:
                yield f"{spec.name} has shape {list(spec.shape)}, expected {list(expected[part])}"


def _overscaled(targets: Sequence[Target]) -> Iterator[str]:
    found = [target for target in targets if abs(target.scale) > LARGEST_SCALE]
    if found:
        names = ", ".join(target.site.name for target in found)
        yield (
            f"{len(found)} linears have a scale beyond {LARGEST_SCALE:g}, such as {found[0].scale:g}, which would "
            f"overflow; look at lora_alpha and alpha_pattern: {names}"
        )


def _bound(target: Target, found: Mapping[Part, TensorSpec], dora: bool) -> BoundSite:
    site = target.site
    return BoundSite(
        name=site.name,
        shape=SiteShape(site.index, site.in_features, site.out_features, target.rank, target.scale, dora),
        a=found["lora_A"],
        b=found["lora_B"],
        magnitude=found.get("lora_magnitude_vector"),
        base=found.get("base_layer"),
    )


def _shown(config: LoraConfig) -> str:
    return repr(config.target_modules if isinstance(config.target_modules, str) else list(config.target_modules))
