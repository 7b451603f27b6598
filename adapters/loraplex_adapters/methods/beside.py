"""What may stand beside any method's own tensors: modules trained whole, rows of the vocabulary, tables PEFT saves.

PEFT handles them alike for all methods, and so they are read as those of a LoRA that has no linears.
"""

from __future__ import annotations

from collections.abc import Mapping

from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.lora.modules import names_of, touched_modules
from loraplex_adapters.lora.parts import Parts
from loraplex_adapters.lora.plan import LoraPlan
from loraplex_adapters.lora.tables import find_tables
from loraplex_adapters.lora.tokens import token_terms
from loraplex_adapters.lora.whole import bias_terms, module_terms
from loraplex_adapters.methods.selected import SAVED
from loraplex_adapters.peft_config import parse_lora
from loraplex_adapters.recipe import Candidate, Recipe
from loraplex_adapters.tensor_file import TensorSpec


def saved_names(candidate: Candidate) -> frozenset[str]:
    """The base's modules that were trained whole.

    Raises:
        AdapterRefusedError: the config's `modules_to_save` makes no sense.
    """
    values = {"peft_type": "LORA", "target_modules": [], SAVED: candidate.values.get(SAVED)}
    modules, _ = touched_modules(parse_lora(candidate.name, values), candidate.base)
    return modules.saving.names


def beside(candidate: Candidate, tensors: Mapping[str, TensorSpec], values: Mapping[str, object]) -> Recipe:
    """The recipe of what a method leaves over.

    Args:
        candidate: the adapter.
        tensors: those that the method does not want.
        values: keys of a LoRA's config, `modules_to_save` or `trainable_token_indices`.

    Raises:
        AdapterRefusedError: with every reason; a tensor that nothing wants is one.
    """
    config = parse_lora(candidate.name, {"peft_type": "LORA", "target_modules": [], **values})
    base, parts = candidate.base, Parts(tensors)
    modules, reasons = touched_modules(config, base)
    tables = find_tables(parts, modules, base)
    tokens, equal, wrong = token_terms(parts, modules.tokens, base, tables.rows(base), candidate.dtype)
    whole = list(module_terms(parts, modules, base, candidate.dtype))
    biases, unused = bias_terms(parts, config, modules, base, ())
    tables.equal += equal
    reasons += [*parts.reasons(names_of(base), base.site_by_name), *wrong, *tables.reasons(base)]
    if reasons:
        raise AdapterRefusedError(candidate.name, reasons)
    others = (*tokens, *whole, *biases)
    return LoraPlan(candidate.name, base, candidate.dtype, (), None, tables, others, tuple(unused), ()).recipe()
