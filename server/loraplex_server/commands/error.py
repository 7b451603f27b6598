"""Light enough for the command line to import before anything else."""

from __future__ import annotations


class CommandError(Exception):
    """A command did not do what it was asked, and says why."""
