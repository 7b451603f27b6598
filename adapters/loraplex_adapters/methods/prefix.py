"""Keys and values before the prompt's own: prefix tuning, and Cartridge, which trains them directly.

PEFT saves what came of a projection, not the projection.
Source: PEFT's `PeftModel.get_prompt` (peft_model.py) and `_prepare_prompt_learning_config` (utils/other.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.computed import Tensors, computed
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.methods.keys import unserved
from loraplex_adapters.methods.names import bind_names
from loraplex_adapters.methods.prompt import SAVED, virtual_tokens
from loraplex_adapters.recipe import Candidate, Recipe
from loraplex_adapters.term_shape import TermShape
from loraplex_adapters.terms import Traits

KEYS = frozenset(
    {
        *("num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"),
        *("encoder_hidden_size", "prefix_projection", "init_weights", "num_frozen_tokens"),
    }
)


def prefix(candidate: Candidate) -> Recipe:
    """Raises AdapterRefusedError with every reason."""
    base = candidate.base
    reasons = [*unserved(candidate.values, KEYS), *_other_shape(candidate)]
    tokens = virtual_tokens(candidate, reasons)
    each = (base.num_layers, 2, base.num_kv_heads, base.head_dim)
    bind_names(candidate.tensors, {SAVED: (tokens, int(np.prod(each)))}, reasons)
    if reasons:
        raise AdapterRefusedError(candidate.name, reasons)
    layers, pair, heads, dim = each

    def value(tensors: Tensors, weights: BaseWeights) -> np.ndarray:
        return np.ascontiguousarray(tensors[SAVED].reshape(tokens, *each).transpose(1, 2, 3, 0, 4))

    term = TermShape("prefix", None, (layers, pair, heads, tokens, dim), candidate.dtype)
    return computed(candidate, [], [(term, value)], Traits(terms=True, virtual_tokens=tokens))


def _other_shape(candidate: Candidate) -> Iterator[str]:
    """PEFT reshapes by the config, which it filled in from the model that was trained: heads are those of the keys."""
    base = candidate.base
    expected = {
        "num_layers": base.num_layers,
        "num_attention_heads": base.num_kv_heads,
        "token_dim": base.num_kv_heads * base.head_dim,
    }
    for key, value in expected.items():
        if candidate.values.get(key) != value:
            yield f"'{key}' is {candidate.values.get(key)!r:.80}, and this model's keys and values need {value}"
