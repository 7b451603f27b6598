"""The compiled CPU kernels: which build of them fits this processor, loaded once.

`hatch_build.py` compiles `csrc/` for each level below. Nothing fails where they are missing: the ops then go through
torch, and `status()` says so and why, for the server's log.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from pathlib import Path

_FOLDER = Path(__file__).parent / "_native"

# Flags of /proc/cpuinfo that a build needs, on top of those of the levels before it. The best comes last.
_X86_LEVELS = {
    "x86_64_v2": {"cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"},
    "x86_64_v3": {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"},
    "x86_64_v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "x86_64_v4_bf16": {"avx512_bf16"},
}


def variants() -> list[str]:
    """Builds that this processor can run, the best first, whether they are there or not."""
    machine = platform.machine()
    if machine == "aarch64":
        return ["aarch64"]
    if machine != "x86_64":
        return []
    flags, fitting = _cpu_flags(), []
    for name, needed in _X86_LEVELS.items():
        if not needed <= flags:
            break
        fitting.append(name)
    return fitting[::-1]


def load(variant: str) -> ctypes.CDLL:
    """Load one build and give it torch's threads.

    Raises:
        OSError: it is not there, or cannot be loaded.
    """
    library = ctypes.CDLL(str(_FOLDER / f"loraplex_{variant}.so"))
    library.loraplex_init.argtypes = [ctypes.c_void_p]
    library.loraplex_init.restype = None
    library.loraplex_init(_gomp_parallel())
    return library


def library() -> ctypes.CDLL | None:
    """The best build for this processor, None where there is none; `status()` then says why."""
    return _loaded()[0]


def status() -> str:
    """One line for the log: what is loaded, or why nothing is."""
    return _loaded()[1]


@functools.cache
def _loaded() -> tuple[ctypes.CDLL | None, str]:
    fitting = variants()
    if not fitting:
        return None, f"slower torch path: there are no CPU kernels for this {platform.machine()} processor"
    built = [name for name in fitting if (_FOLDER / f"loraplex_{name}.so").exists()]
    if not built:
        return None, f"slower torch path: no CPU kernels in {_FOLDER} (`python hatch_build.py` builds them or says why)"
    try:
        loaded = load(built[0])
    except OSError as error:
        return None, f"slower torch path: the CPU kernels do not load: {error}"
    threads = "torch's OpenMP threads" if _gomp_parallel() else "one thread, since torch has loaded no GNU OpenMP"
    return loaded, f"CPU kernels for {built[0]} on {threads}"


def _gomp_parallel() -> int | None:
    """Address of GOMP_parallel in the OpenMP library that torch computes with.

    Torch loads its dependencies for all to see, so the process's own symbols hold it: the one that torch itself is
    bound to, even where another OpenMP library was preloaded.
    """
    import torch  # noqa: F401  # loads the OpenMP library

    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p).value
    except AttributeError:
        return None


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    return next((set(line.split(":", 1)[1].split()) for line in text.splitlines() if line.startswith("flags")), set())
