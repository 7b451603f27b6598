"""Vectors before the prompt's own: prompt tuning, p-tuning, CPT, and multitask prompt tuning with one task.

However they were trained, PEFT saves the finished vectors and predicts with those.
Source: PEFT's `PeftModel.get_prompt` and `get_prompt_embedding_to_save` (peft_model.py), `MultitaskPromptEmbedding`.
"""

from __future__ import annotations

import numpy as np

from loraplex_adapters.base import BaseWeights
from loraplex_adapters.computed import Tensors, Value, computed
from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.fields import Fields
from loraplex_adapters.methods.keys import unserved
from loraplex_adapters.methods.names import bind_names
from loraplex_adapters.methods.plan import Shape
from loraplex_adapters.recipe import Candidate, Recipe
from loraplex_adapters.term_shape import TermShape
from loraplex_adapters.terms import Traits

SAVED = "prompt_embeddings"
COLUMNS, ROWS = "prefix_task_cols", "prefix_task_rows"
# Read by initialisation, by training, or by PEFT's other prompt methods.
HARMLESS = frozenset(
    {
        *("num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"),
        *("prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs"),
        *("prompt_tuning_init_state_dict_path", "prompt_tuning_init_task"),
        *("encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers", "encoder_dropout"),
        *("cpt_token_ids", "cpt_mask", "cpt_tokens_type_mask", "opt_weighted_loss_type", "opt_loss_decay_factor"),
        *("opt_projection_epsilon", "opt_projection_format_epsilon"),
    }
)


def prompt(candidate: Candidate) -> Recipe:
    """Raises AdapterRefusedError with every reason."""
    return _recipe(candidate, {}, lambda tensors, base: tensors[SAVED])


def multitask_prompt(candidate: Candidate) -> Recipe:
    """One task is a fixed prompt: the shared vectors times the task's own low-rank matrix, entry by entry.

    Raises:
        AdapterRefusedError: with every reason; more tasks are one, for a request cannot say which it wants.
    """
    fields = Fields(candidate.values)
    ranks, tasks = fields.positive("num_ranks", 1), fields.positive("num_tasks", 1)
    if tasks > 1:
        reason = (
            f"MULTITASK_PROMPT_TUNING with 'num_tasks' {tasks} is not served: PEFT's forward is told the task's "
            "id, which a request cannot say"
        )
        raise AdapterRefusedError(candidate.name, [reason])
    tokens = fields.positive("num_virtual_tokens", 1)
    parts: dict[str, Shape] = {COLUMNS: (1, tokens, ranks), ROWS: (1, ranks, candidate.base.embedding.width)}

    def value(tensors: Tensors, base: BaseWeights) -> np.ndarray:
        found: np.ndarray = tensors[SAVED] * (tensors[COLUMNS][0] @ tensors[ROWS][0])
        return found

    return _recipe(candidate, parts, value, frozenset({"num_ranks", "num_tasks"}))


def _recipe(candidate: Candidate, parts: dict[str, Shape], value: Value, keys: frozenset[str] = frozenset()) -> Recipe:
    reasons = list(unserved(candidate.values, HARMLESS | keys))
    tokens = virtual_tokens(candidate, reasons)
    width = candidate.base.embedding.width
    bind_names(candidate.tensors, {SAVED: (tokens, width), **parts}, reasons)
    if reasons:
        raise AdapterRefusedError(candidate.name, reasons)
    term = TermShape("prompt", None, (tokens, width), candidate.dtype)
    return computed(candidate, [], [(term, value)], Traits(terms=True, virtual_tokens=tokens))


def virtual_tokens(candidate: Candidate, reasons: list[str]) -> int:
    """Their number; and a reason where they are for an encoder and a decoder."""
    fields = Fields(candidate.values)
    tokens = fields.positive("num_virtual_tokens", 0)
    reasons += fields.reasons
    if (submodules := candidate.values.get("num_transformer_submodules")) not in (None, 1):
        reasons.append(f"'num_transformer_submodules' is {submodules!r:.80}: it is for an encoder and a decoder")
    return tokens
