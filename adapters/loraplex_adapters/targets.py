"""Which sites an adapter's config selects, and the rank and scale of each, by PEFT's rules."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from loraplex_adapters.courtesy import breathe
from loraplex_adapters.peft_config import LoraConfig, layer_pattern, saved_pattern, site_pattern
from loraplex_adapters.site import Site
from loraplex_adapters.tensor_name import EMBEDDING

T = TypeVar("T")
Matcher = Callable[[str], bool]

# The name of the output layer in every model that is served.
OUTPUT_LAYER = "lm_head"
# What 'all-linear' leaves out.
NOT_LINEAR = frozenset({OUTPUT_LAYER, EMBEDDING})


@dataclass(frozen=True)
class Target:
    """A site that the config selects."""

    site: Site
    rank: int
    scale: float  # of B(Ax)


def select_targets(config: LoraConfig, sites: Iterable[Site]) -> tuple[Target, ...]:
    """The selected sites, in the order of `sites`; none where nothing matches.

    Source: PEFT's `check_target_module_exists` and `_maybe_include_all_linear_layers` (tuners/tuners_utils.py),
    `get_pattern_key` (utils/other.py), and the scaling of `LoraLayer.update_layer` (tuners/lora/layer.py).
    """
    excluded = name_matcher(config.exclude_modules)
    saved = part_matcher(config.modules_to_save)
    targeted = _target_matcher(config)
    ranks = _compile(config.rank_pattern)
    alphas = _compile(config.alpha_pattern)
    targets = []
    for site in sites:
        breathe()
        if excluded(site.name) or saved(site.name) or not targeted(site.name):
            continue
        rank = _first_match(ranks, site.name, config.r)
        alpha = _first_match(alphas, site.name, config.lora_alpha)
        targets.append(Target(site, rank, alpha / (math.sqrt(rank) if config.use_rslora else rank)))
    return tuple(targets)


def name_matcher(names: str | Sequence[str] | None) -> Matcher:
    """Whether a name is meant: PEFT's reading of target_modules and exclude_modules. A string is a regex for the whole
    name; a list holds whole names, or what follows a dot at their end; nothing means none.
    """
    if not names:
        return lambda name: False
    if isinstance(names, str):
        pattern = re.compile(names)
        return lambda name: pattern.fullmatch(name) is not None
    whole, suffixes = frozenset(names), tuple(f".{name}" for name in names)
    return lambda name: name in whole or name.endswith(suffixes)


def part_matcher(names: Iterable[str]) -> Matcher:
    """Whether a name has one of these, which are regexes, as a part of its path: PEFT's reading of modules_to_save."""
    patterns = [re.compile(saved_pattern(name)) for name in names]
    return lambda name: any(pattern.match(name) for pattern in patterns)


def _target_matcher(config: LoraConfig) -> Matcher:
    if config.all_linear:
        return lambda name: name.rpartition(".")[2] not in NOT_LINEAR
    named = name_matcher(config.target_modules)
    if not config.layers_to_transform:
        return named
    whole = frozenset(config.target_modules)
    in_layer = _layer_matcher(config)
    # A module that the list spells out in full is taken whatever its layer; PEFT's own precedence.
    return lambda name: name in whole or (named(name) and in_layer(name))


def _layer_matcher(config: LoraConfig) -> Matcher:
    layers = frozenset(config.layers_to_transform)
    # Without a layers_pattern, PEFT takes the first number in the name to be the layer's.
    written = [layer_pattern(pattern) for pattern in config.layers_pattern] or [r".*?\.[^.]*\.(?P<idx>\d+)\."]
    patterns = [re.compile(pattern) for pattern in written]

    def in_layer(name: str) -> bool:
        match = next((found for pattern in patterns if (found := pattern.match(name))), None)
        index = match["idx"] if match else None
        return index is not None and int(index) in layers

    return in_layer


def _compile(patterns: Mapping[str, T]) -> list[tuple[re.Pattern[str], T]]:
    return [(re.compile(site_pattern(key)), value) for key, value in patterns.items()]


def _first_match(patterns: list[tuple[re.Pattern[str], T]], name: str, default: T) -> T:
    return next((value for pattern, value in patterns if pattern.match(name)), default)
