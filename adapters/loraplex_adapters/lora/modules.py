"""Which modules of the base a LoRA config touches, and in which of PEFT's ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from loraplex_adapters.base import BaseShape
from loraplex_adapters.lora.saving import Saving, saving
from loraplex_adapters.lora.tokens import Tokens, chosen_tokens
from loraplex_adapters.peft_config import LoraConfig
from loraplex_adapters.site import Site
from loraplex_adapters.targets import OUTPUT_LAYER, Target, select_targets
from loraplex_adapters.tensor_name import EMBEDDING


@dataclass(frozen=True)
class Modules:
    """What is trained of the base.

    Args:
        targets: linears with a low-rank update.
        embedding: the embedding's low-rank update; its site's index is -1.
        saving: modules trained whole.
        tokens: rows of the embedding and of the output layer.
        tied: the update of the output layer is the embedding's, by ensure_weight_tying.
    """

    targets: tuple[Target, ...]
    embedding: Target | None
    saving: Saving
    tokens: Tokens
    tied: bool

    @property
    def updates(self) -> tuple[Target, ...]:
        """Low-rank updates, the embedding's among them."""
        return self.targets if self.embedding is None else (self.embedding, *self.targets)

    def conflicts(self, config: LoraConfig, base: BaseShape) -> Iterator[str]:
        """What PEFT refuses to combine."""
        lora = {target.site.name for target in self.targets}
        if self.embedding is not None:
            lora.add(base.embedding.name)
        yield from self.saving.conflicts(lora)
        # PEFT puts a tied output layer's tokens under its LoRA, but refuses those that are named there.
        named = lora - {base.head.name} if self.tokens.tied else lora
        yield from self.tokens.conflicts(base, named, self.saving.names)
        if self.embedding is not None and config.lora_bias:
            yield f"'lora_bias' cannot be used with {base.embedding.name} in 'target_modules'; PEFT refuses it too"
        if self.embedding is not None and config.invocation:
            yield (
                f"'alora_invocation_tokens' cannot be used with {base.embedding.name} in 'target_modules'; "
                "PEFT refuses it too"
            )


def touched_modules(config: LoraConfig, base: BaseShape) -> tuple[Modules, list[str]]:
    """Work it out as PEFT does when it puts the adapter on the model; and why it cannot.

    Source: PEFT's `BaseTuner.inject_adapter` and `_check_tied_modules` (tuners/tuners_utils.py),
    `LoraModel._add_targets_to_tie` (tuners/lora/model.py), `set_additional_trainable_modules` (utils/other.py).
    """
    kept, tie_saved = saving(config, base)
    tied = config.tie_weights and base.tied and not tie_saved and _names_a_table(config)
    selecting = config
    if tied:
        selecting = _tied_config(config, base)
    table = Site(-1, base.embedding.name, base.embedding.rows, base.embedding.width)
    everything = select_targets(replace(selecting, modules_to_save=kept.patterns), [table, *base.sites])
    embedding = next((target for target in everything if target.site.index < 0), None)
    targets = [target for target in everything if target.site.index >= 0]
    reasons = []
    if tied:
        targets = [target for target in targets if target.site is not base.head]
        if embedding is None:
            reasons.append(
                f"'ensure_weight_tying' is set, but 'exclude_modules' leaves {base.embedding.name} out, to which "
                "PEFT would tie the output layer"
            )
        else:
            targets.append(_tied_head(config, base, embedding))
    tokens, wrong = chosen_tokens(config, base)
    modules = Modules(tuple(targets), embedding, kept, tokens, tied)
    return modules, [*reasons, *wrong, *modules.conflicts(config, base)]


def _names_a_table(config: LoraConfig) -> bool:
    """`target_modules` has the embedding or the output layer, as PEFT looks for them before it ties."""
    names = (EMBEDDING, OUTPUT_LAYER)
    if isinstance(config.target_modules, str):
        if config.all_linear:
            return False
        sites = [Site(index, name, 1, 1) for index, name in enumerate(names)]
        plain = LoraConfig(r=1, lora_alpha=1, target_modules=config.target_modules)
        return bool(select_targets(plain, sites))
    return any(name.rpartition(".")[2] in names for name in config.target_modules)


def _tied_config(config: LoraConfig, base: BaseShape) -> LoraConfig:
    """With the embedding among the targets."""
    name = base.embedding.name
    if isinstance(config.target_modules, str):
        return replace(config, target_modules=rf"(?:{config.target_modules}|^{name}$)")
    return replace(config, target_modules=(*config.target_modules, name))


def _tied_head(config: LoraConfig, base: BaseShape, embedding: Target) -> Target:
    """Its A and B are the embedding's B and A, its scale is its own."""
    alone = replace(config, target_modules=(base.head.name,), exclude_modules=None, modules_to_save=())
    (own,) = select_targets(replace(alone, layers_to_transform=(), layers_pattern=()), [base.head])
    return replace(own, rank=embedding.rank)


def names_of(base: BaseShape) -> Mapping[str, None]:
    """All modules of the base that have tensors."""
    return dict.fromkeys([base.embedding.name, *base.norms, *(site.name for site in base.sites)])
