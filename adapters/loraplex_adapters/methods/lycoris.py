"""What LoHa and LoKr share: PEFT builds both on one class (`tuners/lycoris_utils.py`)."""

from __future__ import annotations

from collections.abc import Mapping

# Fields that say nothing of what the finished adapter computes, and why.
HARMLESS: Mapping[str, str] = {
    "rank_dropout": "acts in training only",
    "module_dropout": "acts in training only",
    "init_weights": "read by initialisation only",
    "use_effective_conv2d": "for convolutions, of which there are none",
}
