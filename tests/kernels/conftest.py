"""Two threads, poison in memory that is not written yet, and choosing the path that an op takes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from support.poison import poison_memory

from loraplex_kernels import native
from loraplex_server.bench.limits.threads import computing_with


@pytest.fixture(scope="module", autouse=True)
def _two_threads() -> Iterator[None]:
    """So that work is shared out and put together again, on a machine of one core too."""
    with computing_with(2):
        yield


@pytest.fixture(autouse=True)
def _poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that reads what it did not write has a NaN in its result, or reads far outside."""
    poison_memory(monkeypatch)


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


@pytest.fixture(scope="session")
def tool() -> ModuleType:
    """tools/compiled.py."""
    path = Path(__file__).parents[2] / "tools" / "compiled.py"
    spec = importlib.util.spec_from_file_location("compiled", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["compiled"] = module  # dataclasses look for their module there
    spec.loader.exec_module(module)
    return module
