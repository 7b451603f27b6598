"""Write docs/adapters.md anew: run the matrix of adapters (tests/conformance), then let it write what it found.

python tools/conformance.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """pytest's exit status: the page is written only when every row is green."""
    command = [sys.executable, "-m", "pytest", "-q", "tests/conformance"]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "LORAPLEX_WRITE_PAGE": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
