from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig as PeftConfig
from peft import get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists
from peft.utils.other import get_pattern_key
from torch import nn

from loraplex_adapters.peft_config import LoraConfig, parse_config
from loraplex_adapters.site import Site
from loraplex_adapters.targets import select_targets

FAMILIES = ["llama", "qwen2", "phi3", "gemma3"]

VARIANTS: dict[str, dict[str, Any]] = {
    "list": {"target_modules": ["q_proj", "v_proj", "down_proj"]},
    "packed": {"target_modules": ["qkv_proj", "gate_up_proj", "o_proj"]},
    "full names": {"target_modules": ["model.layers.1.self_attn.o_proj", "layers.2.mlp.down_proj"]},
    "regex": {"target_modules": r"model\.layers\.[02]\.(self_attn\.o_proj|mlp\.\w+_proj)"},
    "regex for the whole name": {"target_modules": r".*layers\.1.*proj"},
    "all linear": {"target_modules": "all-linear"},
    "all linear, shouted": {"target_modules": "ALL-Linear"},
    "all linear but some": {
        "target_modules": "all-linear",
        "exclude_modules": ["down_proj", "layers.0.self_attn.o_proj"],
    },
    "all linear but a regex": {"target_modules": "all-linear", "exclude_modules": r".*\.1\..*"},
    "head": {"target_modules": ["o_proj", "lm_head"]},
    "one layer": {"target_modules": ["o_proj", "down_proj"], "layers_to_transform": 1},
    "first layer": {"target_modules": ["o_proj"], "layers_to_transform": 0},
    "some layers": {"target_modules": ["o_proj", "down_proj"], "layers_to_transform": [0, 2]},
    "no layers": {"target_modules": ["o_proj", "down_proj"], "layers_to_transform": []},
    "pattern": {"target_modules": ["o_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    "patterns": {"target_modules": ["o_proj"], "layers_to_transform": [1], "layers_pattern": ["h", "layers"]},
    "layer of a full name": {
        "target_modules": ["model.layers.0.mlp.down_proj", "o_proj"],
        "layers_to_transform": [1],
    },
    "ranks": {
        "target_modules": ["o_proj", "down_proj"],
        "rank_pattern": {"o_proj": 3, r"layers\.[12]\.mlp\.down_proj": 5, "down_proj": 7},
    },
    "ranks, first match": {"target_modules": ["o_proj"], "rank_pattern": {"self_attn.o_proj": 2, r"1\..*o_proj": 9}},
    "ranks, part of a name": {"target_modules": ["o_proj", "down_proj"], "rank_pattern": {"proj": 3, "_proj": 4}},
    "ranks, anchored": {"target_modules": ["o_proj"], "rank_pattern": {"^model.layers.0.self_attn.o_proj": 6}},
    "alphas": {"target_modules": ["o_proj", "down_proj"], "alpha_pattern": {"down_proj": 40, r"layers\.0\..*": 1}},
    "rslora": {"target_modules": ["o_proj", "down_proj"], "use_rslora": True, "r": 6, "lora_alpha": 10},
    "rslora, ranks and alphas": {
        "target_modules": ["o_proj", "down_proj"],
        "use_rslora": True,
        "rank_pattern": {"down_proj": 5},
        "alpha_pattern": {"o_proj": 3},
    },
    "dora": {"target_modules": ["o_proj"], "use_dora": True},
    "all linear but what is saved": {"target_modules": "all-linear", "modules_to_save": ["mlp", "o_proj"]},
    "fan in fan out": {"target_modules": ["o_proj"], "fan_in_fan_out": True},
}


def as_written(options: dict[str, Any]) -> LoraConfig:
    """Parsed from the JSON that a person who gave PEFT these options would write."""
    values = PeftConfig(**options).to_dict()
    lists = {key: sorted(value) if isinstance(value, set) else value for key, value in values.items()}
    return parse_config("adapter", json.dumps(lists).encode())


def selected_by_peft(model: nn.Module) -> dict[str, tuple[int, float]]:
    return {
        name: (module.r["default"], module.scaling["default"])
        for name, module in model.base_model.model.named_modules()
        if isinstance(module, LoraLayer)
    }


def selected(config: LoraConfig, sites: tuple[Site, ...]) -> dict[str, tuple[int, float]]:
    return {target.site.name: (target.rank, target.scale) for target in select_targets(config, sites)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_sites_ranks_and_scales_are_those_that_peft_builds(make_model, tmp_path, family, variant) -> None:
    base, options = make_model(family), VARIANTS[variant]
    ours = selected(as_written(options), base.sites)
    if not ours:  # the model has none of these modules
        with pytest.raises(ValueError, match="not found in the base model"):
            get_peft_model(base.model, PeftConfig(**options))
        return
    peft = get_peft_model(base.model, PeftConfig(task_type="CAUSAL_LM", **options))
    assert ours == selected_by_peft(peft)
    # Once more from PEFT's own file: it resolves all-linear, shortens lists, and sorts the patterns, of which the
    # first that matches counts.
    peft.save_pretrained(tmp_path)
    again = get_peft_model(make_model(family).model, PeftConfig.from_pretrained(tmp_path))
    saved = parse_config("adapter", (tmp_path / "adapter_config.json").read_bytes())
    assert selected(saved, base.sites) == selected_by_peft(again)


NAMES = [
    "lm_head",
    *(f"model.layers.{layer}.self_attn.{module}" for layer in (0, 1, 11) for module in ("q_proj", "o_proj")),
    *(f"model.layers.{layer}.mlp.{module}" for layer in (0, 1, 11) for module in ("up_proj", "down_proj")),
]
SITES = tuple(Site(index, name, 8, 8) for index, name in enumerate(NAMES))
PART = st.sampled_from(["proj", "q_proj", "mlp", "lm_head", "layers.1.mlp.up_proj", "1.self_attn.o_proj", "", *NAMES])
REGEX = st.sampled_from(
    [".*", r".*q_proj", r"model\.layers\.\d+\..*", r".*\.(q|o)_proj", "q_proj", r".*1.*up.*", "lm_head"]
)
PATTERN = st.one_of(PART.filter(bool), REGEX, st.sampled_from([r"\d+\.mlp\..*", "^model.*", "o_proj|up_proj"]))


@settings(max_examples=300)
@given(
    target_modules=st.one_of(REGEX, st.lists(PART, min_size=1, max_size=4)),
    exclude_modules=st.one_of(st.none(), REGEX, st.lists(PART, max_size=2)),
    layers=st.one_of(st.none(), st.sampled_from([0, 1, 11]), st.lists(st.sampled_from([0, 1, 2, 11]), max_size=3)),
    layers_pattern=st.one_of(st.none(), st.sampled_from(["layers", "h", ["h", "layers"], [], "lay.rs"])),
    ranks=st.dictionaries(PATTERN, st.integers(1, 9), max_size=4),
    alphas=st.dictionaries(PATTERN, st.floats(-4, 40), max_size=3),
    saved=st.one_of(
        st.none(), st.lists(st.one_of(PART.filter(bool), st.sampled_from(["o.proj", "layers.1"])), max_size=2)
    ),
)
def test_any_config_selects_what_peft_selects(
    target_modules, exclude_modules, layers, layers_pattern, ranks, alphas, saved
) -> None:
    if isinstance(target_modules, str) or layers is None:
        layers = layers_pattern = None
    options = {
        "target_modules": target_modules,
        "exclude_modules": exclude_modules,
        "layers_to_transform": layers,
        "layers_pattern": layers_pattern,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "modules_to_save": saved,
    }
    peft = PeftConfig(**options)
    expected = {}
    for name in NAMES:
        found = check_target_module_exists(peft, name)
        if found and not isinstance(found, _ExcludedModule):
            rank = ranks.get(get_pattern_key(ranks, name), peft.r)
            expected[name] = (rank, alphas.get(get_pattern_key(alphas, name), peft.lora_alpha) / rank)
    assert selected(as_written(options), SITES) == expected
