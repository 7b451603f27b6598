"""As on a machine for GPUs, without what only a server needs: `pytest -p support.bare`, with tests/ in PYTHONPATH."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from typing import Any

MISSING = {
    *("fastapi", "httptools", "llguidance", "obstore", "pydantic", "pydantic_settings", "pytest_asyncio"),
    *("starlette", "uvicorn", "uvloop", "zmq"),
}


class Without:
    """One of Python's finders, which does not find those packages."""

    def __init__(self, finder: Any) -> None:
        self._finder = finder

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] in MISSING:
            return None
        found: ModuleSpec | None = self._finder.find_spec(name, path, target)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
