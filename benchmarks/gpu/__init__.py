"""The parts of kernels.py and engine.py: a clock for a GPU, random models and adapters in memory, what is compared."""

import sys

# Libraries look for a package `kernels`, and would find the script of that name, which lies where these two run.
sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
