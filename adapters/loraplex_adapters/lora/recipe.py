"""A LoRA adapter's files as a recipe."""

from __future__ import annotations

from collections.abc import Iterator

from loraplex_adapters.base import BaseShape
from loraplex_adapters.binding import bind_sites, overscaled
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.lora.embedding import bind_embedding
from loraplex_adapters.lora.modules import Modules, names_of, touched_modules
from loraplex_adapters.lora.parts import Parts
from loraplex_adapters.lora.plan import EVERYWHERE, LoraPlan
from loraplex_adapters.lora.tables import Tables, find_tables
from loraplex_adapters.lora.tokens import token_terms
from loraplex_adapters.lora.whole import bias_terms, module_terms
from loraplex_adapters.peft_config import LoraConfig, parse_lora
from loraplex_adapters.recipe import Candidate, Recipe


def lora_recipe(candidate: Candidate) -> Recipe:
    """What a LoRA adapter comes to.

    Raises:
        AdapterRefusedError: with every reason why it cannot be served exactly.
    """
    config, base, parts = parse_lora(candidate.name, candidate.values), candidate.base, Parts(candidate.tensors)
    modules, reasons = touched_modules(config, base)
    tables = find_tables(parts, modules, base)
    rows, scores = tables.rows(base)
    sites = bind_sites(parts, config, modules.targets, {base.head.index: scores})
    embedding = bind_embedding(parts, config, modules.embedding, base, rows)
    tokens, equal, wrong = token_terms(parts, modules.tokens, base, (rows, scores), candidate.dtype)
    whole = list(module_terms(parts, modules, base, candidate.dtype))
    biases, unused = bias_terms(parts, config, modules, base, sites)
    tables.equal += equal
    if not (modules.targets or modules.embedding):
        reasons.insert(0, f"target_modules {_shown(config)} select no linear of this model")
    reasons += parts.reasons(names_of(base), [site.name for site in base.sites])
    reasons += [*wrong, *tables.reasons(base), *overscaled(modules.updates)]
    reasons += _unserved(config, modules, base, tables)
    if reasons:
        raise AdapterRefusedError(candidate.name, reasons)
    others = (*tokens, *whole, *biases)
    return LoraPlan(
        candidate.name, base, candidate.dtype, sites, embedding, tables, others, tuple(unused), config.invocation
    ).recipe()


def _unserved(config: LoraConfig, modules: Modules, base: BaseShape, tables: Tables) -> Iterator[str]:
    """What PEFT has and would be wrong here."""
    head = base.head.name
    on_head = any(target.site is base.head for target in modules.targets)
    if config.use_dora and on_head and modules.tokens.output:
        yield f"'use_dora' is on {head}, together with 'trainable_token_indices', which is not served"
    if on_head and modules.tokens.output and tables.head is not None:
        yield f"LoRA and 'trainable_token_indices' are on {head}, whose own weight is in the file too: not served"
    if on_head and config.lora_bias and tables.rows(base)[1] != base.head.out_features:
        yield f"'lora_bias' is on {head}, whose vocabulary was resized, which is not served"
    if config.invocation:
        trained = {
            "'modules_to_save'": modules.saving.names,
            "'trainable_token_indices'": (*modules.tokens.input, *modules.tokens.output),
            f"'bias' = '{config.bias}'": base.biased if config.bias != "none" else (),
        }
        for what, found in trained.items():
            if found:
                yield EVERYWHERE.format(what)


def _shown(config: LoraConfig) -> str:
    return repr(config.target_modules if isinstance(config.target_modules, str) else list(config.target_modules))
