"""What keeps the engine from starting."""

from __future__ import annotations


class EngineStartError(RuntimeError):
    """The engine cannot start as configured; the message says which setting to change."""
