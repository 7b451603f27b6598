"""Settings of the sampling filters that every kernel is compared under, from none to all at once."""

from __future__ import annotations

FILTERS = [
    {},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 600},
    {"top_p": 1e-9},
    {"top_p": 0.3},
    {"top_p": 0.999},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"top_k": 40, "top_p": 0.9},
    {"top_k": 3, "min_p": 0.5, "top_p": 0.7},
]
