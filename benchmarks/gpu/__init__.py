"""The parts of kernels.py and engine.py: a clock for a GPU, random models and adapters in memory, what is compared."""

import sys
from pathlib import Path

# Both run where the project is not installed too: from its own folders, which go before what else may be there.
sys.path[:0] = [str(Path(__file__).parents[2] / part) for part in ("kernels", "adapters", "server")]
# Libraries look for a package `kernels`, and would find the script of that name, which lies where these two run.
sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
