"""Compiles the CPU kernels: once for each instruction set, with the C compiler that the ziglang wheel brings.

hatchling calls this for wheels and for editable installs; `python hatch_build.py` does the same in the tree.
Where it cannot be done (no ziglang, another platform), the package installs without: it then says in its log that it
computes through torch, which is slower, and `loraplex_kernels.native.status()` says why.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path("kernels/loraplex_kernels/csrc")
OUTPUT = Path("kernels/loraplex_kernels/_native")

# As old as manylinux2014, so that a wheel built on a new system runs on old ones.
GLIBC = "2.17"

# File name's middle -> how the compiler is told of the processor. loraplex_kernels.native picks one by the same names.
VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "x86_64_v2": ("-mcpu=x86_64_v2",),
        "x86_64_v3": ("-mcpu=x86_64_v3",),
        "x86_64_v4": ("-mcpu=x86_64_v4", "-mprefer-vector-width=512"),
        "x86_64_v4_bf16": ("-mcpu=x86_64_v4+avx512bf16", "-mprefer-vector-width=512"),
    },
    "aarch64": {"aarch64": ("-mcpu=generic",)},
}

# -ffp-contract=on: fuse inside one expression only, so that a sum's value does not hang on the optimizer's mood.
FLAGS = (
    *("-shared", "-fPIC", "-O3", "-std=c11", "-ffp-contract=on", "-fno-math-errno", "-fvisibility=hidden"),
    *("-Wall", "-Wextra", "-Werror", "-s"),
)


class NativeBuildError(Exception):
    """The kernels cannot be compiled here; the message says why."""


def build(root: Path) -> list[Path]:
    """Compile every variant for this machine's architecture that is older than its sources; returns all of them.

    Raises:
        NativeBuildError: no compiler, an unsupported platform, or the compiler's own errors.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in VARIANTS or platform.libc_ver()[0] != "glibc":
        raise NativeBuildError(f"there are no CPU kernels for {sys.platform} on {machine} without glibc")
    if importlib.util.find_spec("ziglang") is None:
        raise NativeBuildError("the package ziglang, which brings the compiler, is not installed")
    (root / OUTPUT).mkdir(exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda variant: _compile(root, machine, variant), VARIANTS[machine]))


def _compile(root: Path, machine: str, variant: str) -> Path:
    sources = sorted((root / SOURCES).glob("*.c"))
    inputs = [*sources, *(root / SOURCES).glob("*.h"), Path(__file__)]
    library = root / OUTPUT / f"loraplex_{variant}.so"
    if library.exists() and library.stat().st_mtime >= max(path.stat().st_mtime for path in inputs):
        return library
    # Another process may have the old file mapped, or be reading it: replace it, never write into it.
    fresh = library.with_suffix(f".{os.getpid()}.so")
    target = ("-target", f"{machine}-linux-gnu.{GLIBC}", *VARIANTS[machine][variant])
    command = [sys.executable, "-m", "ziglang", "cc", *target, *FLAGS, "-o", str(fresh), *map(str, sources), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise NativeBuildError(f"compiling {library.name} failed:\n{done.stderr}")
    os.replace(fresh, library)
    return library


class CustomBuildHook(BuildHookInterface[Any]):
    """Puts the compiled kernels into the wheel, which then is no longer for any platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files of a wheel or of an editable install."""
        try:
            build(Path(self.root))
        except NativeBuildError as error:
            self.app.display_warning(f"loraplex is built without its CPU kernels and will be slower: {error}")
            return
        build_data["artifacts"].append(f"/{OUTPUT}/*.so")  # they are ignored by git
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-manylinux2014_{platform.machine()}"


if __name__ == "__main__":
    try:
        for path in build(Path(__file__).resolve().parent):
            print(path)
    except NativeBuildError as error:
        sys.exit(str(error))
