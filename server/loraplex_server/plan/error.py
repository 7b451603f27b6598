"""Why there is no plan."""

from __future__ import annotations


class PlanError(Exception):
    """The model, the machine or the settings make no server; the message says what would."""
