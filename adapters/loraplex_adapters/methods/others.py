"""The methods beside LoRA that are served."""

from __future__ import annotations

from collections.abc import Mapping

from loraplex_adapters.methods.adalora import ADALORA
from loraplex_adapters.methods.beft import BEFT
from loraplex_adapters.methods.deft import DEFT
from loraplex_adapters.methods.delora import DELORA
from loraplex_adapters.methods.gralora import GRALORA
from loraplex_adapters.methods.hra import HRA
from loraplex_adapters.methods.ia3 import IA3
from loraplex_adapters.methods.ln_tuning import ln_tuning
from loraplex_adapters.methods.loha import LOHA
from loraplex_adapters.methods.lokr import LOKR
from loraplex_adapters.methods.miss import MISS
from loraplex_adapters.methods.oft import OFT
from loraplex_adapters.methods.planned import recipe_of
from loraplex_adapters.methods.prefix import prefix
from loraplex_adapters.methods.prompt import multitask_prompt, prompt
from loraplex_adapters.methods.trainable_tokens import trainable_tokens
from loraplex_adapters.methods.vblora import VBLORA
from loraplex_adapters.methods.vera import PVERA, VERA
from loraplex_adapters.recipe import MakeRecipe

# By PEFT's peft_type.
OTHERS: Mapping[str, MakeRecipe] = {
    "ADALORA": recipe_of(ADALORA),
    "BEFT": recipe_of(BEFT),
    "CARTRIDGE": prefix,
    "CPT": prompt,
    "DEFT": recipe_of(DEFT),
    "DELORA": recipe_of(DELORA),
    "GRALORA": recipe_of(GRALORA),
    "HRA": recipe_of(HRA),
    "IA3": recipe_of(IA3),
    "LN_TUNING": ln_tuning,
    "LOHA": recipe_of(LOHA),
    "LOKR": recipe_of(LOKR),
    "MISS": recipe_of(MISS),
    "MULTITASK_PROMPT_TUNING": multitask_prompt,
    "OFT": recipe_of(OFT),
    "PREFIX_TUNING": prefix,
    "PROMPT_TUNING": prompt,
    "PVERA": recipe_of(PVERA),
    "P_TUNING": prompt,
    "TRAINABLE_TOKENS": trainable_tokens,
    "VBLORA": recipe_of(VBLORA),
    "VERA": recipe_of(VERA),
}
