"""Install the pinned torch, and refuse to pull gigabytes of CUDA onto a machine that has no GPU.

The index that pip is set up with decides which build a version means. What would arrive is known before anything is
downloaded: a CUDA build brings nvidia-* packages with it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

HELP = """\
torch would arrive as its CUDA build ({count} nvidia packages), but this machine has no NVIDIA GPU.
Give the index of PyTorch's CPU wheels, as named on PyTorch's "Get started" page:
    {command} TORCH_INDEX=<that index>
or, if the CUDA build is what you want here:
    {command} ALLOW_CUDA=1
"""


def main() -> int:
    """0 when torch is installed, 1 when it was refused."""
    constraints = sys.argv[1]
    try:
        print(f"torch {importlib.metadata.version('torch')} is installed")
        return 0
    except importlib.metadata.PackageNotFoundError:
        pass
    index = os.environ.get("TORCH_INDEX")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "-c", constraints]
    pip += ["--extra-index-url", index] if index else []
    planned = _planned([*pip, "torch"])
    nvidia = [name for name in planned if name.startswith("nvidia")]
    if nvidia and not Path("/dev/nvidiactl").exists() and not os.environ.get("ALLOW_CUDA"):
        print(HELP.format(count=len(nvidia), command=os.environ.get("COMMAND", "make demo")), file=sys.stderr)
        return 1
    subprocess.run([*pip, "torch"], check=True)
    print(f"torch {importlib.metadata.version('torch')} was installed")
    return 0


def _planned(command: list[str]) -> list[str]:
    """Names of the packages that pip would install, without downloading them."""
    result = subprocess.run([*command, "--dry-run", "--report", "-"], check=True, capture_output=True, text=True)
    return [item["metadata"]["name"].lower() for item in json.loads(result.stdout)["install"]]


if __name__ == "__main__":
    sys.exit(main())
