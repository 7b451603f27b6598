"""The families that are served, by the architecture that config.json names."""

from loraplex_server.models.families.family import Family
from loraplex_server.models.families.gemma2 import GEMMA2
from loraplex_server.models.families.gemma3 import GEMMA3
from loraplex_server.models.families.llama import LLAMA
from loraplex_server.models.families.mistral import MISTRAL
from loraplex_server.models.families.phi3 import PHI3
from loraplex_server.models.families.qwen2 import QWEN2
from loraplex_server.models.families.qwen3 import QWEN3

FAMILIES: dict[str, Family] = {
    family.architecture: family for family in (LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA2, GEMMA3, PHI3)
}

__all__ = ["FAMILIES", "Family"]
