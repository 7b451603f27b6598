"""Light enough for the command line to import before anything else."""

from __future__ import annotations


class StartError(Exception):
    """The server cannot start, and says why."""
