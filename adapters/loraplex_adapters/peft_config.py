"""adapter_config.json, read strictly: what it says is served exactly as PEFT would, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.fields import Fields
from loraplex_adapters.pattern import pattern_reason
from loraplex_adapters.unserved import init_reason, unserved_reasons

# PEFT's shorthand for every linear module but the output layer.
ALL_LINEAR = "all-linear"
LONGEST = 1 << 20  # bytes; one that names every linear of a large model has some tens of thousands
DEFAULT_RANK = 8  # PEFT's, and so its default alpha


@dataclass(frozen=True)
class LoraConfig:
    """What decides which sites an adapter touches and how strongly; names as in PEFT.

    Patterns are regular expressions that compile; mappings keep the file's order, because the first match counts.
    """

    r: int
    lora_alpha: float
    target_modules: str | tuple[str, ...]  # a regex for the whole name, or suffixes of names
    use_rslora: bool = False
    use_dora: bool = False
    exclude_modules: str | tuple[str, ...] | None = None
    layers_to_transform: tuple[int, ...] = ()  # none: all
    layers_pattern: tuple[str, ...] = ()
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    bias: str = "none"  # or "all", "lora_only": biases of the base that were trained
    lora_bias: bool = False  # lora_B has a bias
    modules_to_save: tuple[str, ...] = ()  # ends of names, of modules that were trained whole
    trainable_tokens: tuple[int, ...] | Mapping[str, tuple[int, ...]] = ()  # of the embedding, or by ends of names
    tie_weights: bool = False  # PEFT's ensure_weight_tying
    invocation: tuple[int, ...] = ()  # PEFT's alora_invocation_tokens
    base_model: str | None = None  # as the trainer called it; for listings only

    @property
    def all_linear(self) -> bool:
        """PEFT's shorthand was used, in any case of letters."""
        return isinstance(self.target_modules, str) and self.target_modules.lower() == ALL_LINEAR


def parse_config(name: str, text: bytes) -> LoraConfig:
    """`read_values` and `parse_lora` in one.

    Raises:
        AdapterRefusedError: also where it is not LoRA.
    """
    values = read_values(name, text)
    if values.get("peft_type") != "LORA":
        raise AdapterRefusedError(name, [f"peft_type {values.get('peft_type')!r:.80} is not LoRA"])
    return parse_lora(name, values)


def parse_lora(name: str, values: Mapping[str, object]) -> LoraConfig:
    """Read a LoRA's adapter_config.json.

    Args:
        name: of the adapter, for the message.
        values: of the file, its `peft_type` being LORA.

    Raises:
        AdapterRefusedError: with every reason, where the file says anything that would change the outputs and is not
            served.
    """
    fields = Fields(values)
    target_modules = fields.names("target_modules")
    layers_pattern = fields.names("layers_pattern") or ()
    config = LoraConfig(
        r=fields.positive("r", DEFAULT_RANK),
        lora_alpha=fields.number("lora_alpha", DEFAULT_RANK),
        target_modules=target_modules or (),
        use_rslora=fields.flag("use_rslora"),
        use_dora=fields.flag("use_dora"),
        exclude_modules=fields.names("exclude_modules") or None,
        layers_to_transform=fields.indices("layers_to_transform") or (),
        layers_pattern=(layers_pattern,) if isinstance(layers_pattern, str) else layers_pattern,
        rank_pattern=fields.ranks("rank_pattern"),
        alpha_pattern=fields.numbers("alpha_pattern"),
        bias=fields.choice("bias", ("none", "all", "lora_only")),
        lora_bias=fields.flag("lora_bias"),
        modules_to_save=fields.strings("modules_to_save"),
        trainable_tokens=fields.tokens("trainable_token_indices"),
        tie_weights=fields.flag("ensure_weight_tying"),
        invocation=fields.token_ids("alora_invocation_tokens"),
        base_model=fields.text("base_model_name_or_path"),
    )
    reasons = [*fields.reasons, *_conflicts(values, config), *_bad_patterns(config), *unserved_reasons(values)]
    if reasons:
        raise AdapterRefusedError(name, reasons)
    return config


def read_values(name: str, text: bytes) -> dict[str, object]:
    """The JSON object of an adapter_config.json, whatever the method.

    Args:
        name: of the adapter, for the message.
        text: content of the file.

    Raises:
        AdapterRefusedError: it is none, or too large to be one.
    """
    if len(text) > LONGEST:
        raise AdapterRefusedError(name, [f"adapter_config.json is larger than {LONGEST} bytes"])
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:  # bad UTF-8 is a ValueError too
        raise AdapterRefusedError(name, [f"adapter_config.json is not JSON: {error}"]) from error
    if not isinstance(values, dict):
        raise AdapterRefusedError(name, ["adapter_config.json does not hold an object"])
    return values


def _conflicts(values: Mapping[str, object], config: LoraConfig) -> Iterable[str]:
    """What PEFT's own LoraConfig.__post_init__ and model code refuse, and the inits that we do."""
    if values.get("target_modules") is None:
        yield "'target_modules' is missing: PEFT would choose by architecture; name the modules that were trained"
    if isinstance(config.target_modules, str) and config.target_modules:
        for key in ("layers_to_transform", "layers_pattern"):
            if values.get(key) is not None:
                yield f"'{key}' cannot be used when 'target_modules' is a string; PEFT refuses it too"
    elif config.layers_pattern and values.get("layers_to_transform") is None:
        yield "'layers_pattern' is set without 'layers_to_transform'; PEFT refuses it too"
    if config.lora_bias and config.use_dora:
        yield "'lora_bias' cannot be used with 'use_dora'; PEFT refuses it too"
    if config.invocation and config.use_dora:
        yield "'alora_invocation_tokens' cannot be used with 'use_dora'; PEFT refuses it too"
    if values.get("alora_invocation_tokens") == []:
        yield "'alora_invocation_tokens' is empty: PEFT cannot look for nothing; leave it out for an ordinary LoRA"
    if reason := init_reason(values.get("init_lora_weights")):
        yield reason


def _bad_patterns(config: LoraConfig) -> Iterable[str]:
    same: Callable[[str], str] = str
    written: list[tuple[str, Iterable[str], Callable[[str], str]]] = [
        ("rank_pattern", config.rank_pattern, site_pattern),
        ("alpha_pattern", config.alpha_pattern, site_pattern),
        ("layers_pattern", config.layers_pattern, layer_pattern),
        ("modules_to_save", config.modules_to_save, saved_pattern),
    ]
    if isinstance(config.target_modules, str) and not config.all_linear:
        written.append(("target_modules", [config.target_modules], same))
    if isinstance(config.exclude_modules, str):
        written.append(("exclude_modules", [config.exclude_modules], same))
    for key, patterns, used_as in written:
        for pattern in patterns:
            if reason := pattern_reason(used_as(pattern)):
                yield f"'{key}' {pattern!r:.200} {reason}"


def site_pattern(key: str) -> str:
    """The expression that PEFT makes of a key of rank_pattern or alpha_pattern (`get_pattern_key`)."""
    return rf"(.*\.)?({key})$"


def layer_pattern(pattern: str) -> str:
    """The expression that PEFT makes of a layers_pattern (`check_target_module_exists`)."""
    return rf"(?:^|.*?\.){pattern}\.(?P<idx>\d+)\."


def saved_pattern(name: str) -> str:
    """The expression that PEFT makes of one of modules_to_save (`check_target_module_exists`)."""
    return rf"(^|.*\.){name}($|\..*)"
