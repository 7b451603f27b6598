"""Choosing the path that an op takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loraplex_kernels import native


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Switches to one build of the kernels, or to `torch` for none."""

    def switch(path: str) -> None:
        library = None
        if path != "torch":
            try:
                library = native.load(path)
            except OSError:
                pytest.skip(f"{path} is not built: python hatch_build.py")
        monkeypatch.setattr(native, "library", lambda: library)

    return switch
