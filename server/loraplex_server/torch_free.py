"""The process that speaks HTTP computes nothing, so it does without torch: 140 MB and seconds of its start."""

from __future__ import annotations

import os
import sys


def hide_torch() -> None:
    """Have what is imported from now on find no torch: transformers then brings tokenizers and templates alone.

    Does nothing where torch was imported already: then there is nothing to save, and hiding it would break what has it.
    """
    if "torch" in sys.modules:
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # Python's own way to say that a module is not to be found
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # or transformers warns that it has no models
