"""PEFT's methods: which are served, and how each one's files become low-rank updates and terms."""

from __future__ import annotations

from collections.abc import Mapping

from loraplex_adapters.errors import AdapterRefusedError
from loraplex_adapters.lora.recipe import lora_recipe
from loraplex_adapters.methods.others import OTHERS
from loraplex_adapters.methods.refused import why_refused
from loraplex_adapters.recipe import MakeRecipe

METHODS: Mapping[str, MakeRecipe] = {
    "LORA": lora_recipe,
    **OTHERS,
}


def method_of(name: str, values: Mapping[str, object]) -> MakeRecipe:
    """What reads an adapter of the config's `peft_type`.

    Args:
        name: of the adapter, for the message.
        values: of adapter_config.json.

    Raises:
        AdapterRefusedError: that method is not served.
    """
    peft_type = values.get("peft_type")
    method = METHODS.get(peft_type) if isinstance(peft_type, str) else None
    if method is None:
        raise AdapterRefusedError(name, [why_refused(peft_type)])
    return method
