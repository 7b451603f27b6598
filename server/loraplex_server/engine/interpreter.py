"""What a process that this one starts is given of its environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def interpreter_environment() -> dict[str, str]:
    """The parent's, and its import path: so that what runs from a checkout runs there too."""
    paths = [path for path in sys.path if path and Path(path).is_dir()]
    # PYTHONSAFEPATH: the working folder is not on the path, where a folder may be called like a package.
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
