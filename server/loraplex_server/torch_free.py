"""Who does without torch, or without what comes with it.

The process that speaks HTTP computes nothing, so it has no torch: 140 MB and seconds of its start. The engine has it,
but all that it wants of transformers is configs; and where transformers finds torch, those bring torch's compiler and
Triton along, 170 MB and seconds that nobody uses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def hide_torch() -> None:
    """Have what is imported from now on find no torch: transformers then brings tokenizers and templates alone.

    Does nothing where torch was imported already: then there is nothing to save, and hiding it would break what has it.
    """
    if "torch" in sys.modules:
        return
    _hide()


def keep_torch_from_transformers() -> None:
    """Have transformers believe that there is no torch, in a process that has it; before transformers is imported."""
    with _hidden():
        from transformers.utils import is_torch_available

        is_torch_available()  # it remembers what it found


@contextmanager
def _hidden() -> Iterator[None]:
    there = sys.modules.get("torch")
    _hide()
    try:
        yield
    finally:
        del sys.modules["torch"]
        if there is not None:
            sys.modules["torch"] = there


def _hide() -> None:
    sys.modules["torch"] = None  # type: ignore[assignment]  # Python's own way to say that a module is not to be found
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # or transformers warns that it has no models
