"""What the Triton kernels become: registers, spills and loads of every variant, compiled without a GPU.

    python tools/compiled.py [WORD ...] [--capability 90] [--each-once] [--json] [--processes 2]

Finds every module `kernels/loraplex_kernels/**/triton_*.py` and compiles what its `variants()` yields, for each of
their capabilities, or with --each-once for one of them, in turns; words pick those whose module or name has one of
them. Ends with status 1 where a variant does not compile, spills registers, or wants more shared memory than the card
has, and where a module has a kernel but no `variants()`. Triton's own cache (TRITON_CACHE_DIR) makes the second run a
quick one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

KERNELS = Path(__file__).parents[1] / "kernels"
sys.path.insert(0, str(KERNELS))
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # what Triton does today, and warns of once a process

# Bytes that one block may ask for: the CUDA programming guide's table of technical specifications, by capability.
SHARED_LIMIT = {80: 166_912, 86: 101_376, 89: 101_376, 90: 232_448, 100: 232_448, 103: 232_448, 120: 101_376}
# Of 16 bytes: loads to registers, and copies to shared memory that pass these by.
WIDE = (
    r"ld\.global[\w.:]*\.v(?:4\.[bfu]32|2\.[bfu]64)|ld\.global[\w.:]*\.b128|cp\.async\.c[ag]\.shared\.global[^;]*, 0x10"
)
LOAD = r"\bld\.global|cp\.async\.c[ag]\.shared"


@dataclass(frozen=True)
class Compiled:
    """One variant on one card; `error` says what is wrong with it."""

    module: str
    name: str
    capability: int
    registers: int = 0
    stack: int = 0  # bytes of local memory a thread: spilled registers, or arrays indexed at run time
    shared: int = 0  # bytes a block
    wide: int = 0  # loads of 16 bytes
    loads: int = 0  # all loads of global memory, in PTX
    error: str = ""


def modules() -> Iterator[ModuleType]:
    """Every module that may hold a kernel, imported."""
    for path in sorted((KERNELS / "loraplex_kernels").rglob("triton_*.py")):
        yield importlib.import_module(".".join(path.relative_to(KERNELS).with_suffix("").parts))


def kernels_of(module: ModuleType) -> list[str]:
    """Names of what a module itself defines with `@triton.jit`."""
    from triton.runtime.jit import JITFunction

    found = [name for name, value in vars(module).items() if isinstance(value, JITFunction)]
    return [name for name in found if getattr(module, name).fn.__module__ == module.__name__]


def jobs(
    words: Sequence[str], capability: int | None, each_once: bool = False
) -> tuple[list[tuple[str, int, int, str]], list[str]]:
    """`(module, number of the variant, capability, name)` of what is to be compiled, and complaints."""
    found, complaints = [], []
    for module in modules():
        short = module.__name__.removeprefix("loraplex_kernels.")
        if not kernels_of(module):
            continue
        if not hasattr(module, "variants"):
            complaints.append(f"{short} has kernels ({', '.join(kernels_of(module))}) but no variants()")
            continue
        names = set()
        for number, variant in enumerate(module.variants()):
            if variant.name in names:
                complaints.append(f"{short} has two variants named {variant.name!r}")
            names.add(variant.name)
            if words and not any(word in f"{short} {variant.name}" for word in words):
                continue
            wanted = [sm for sm in variant.capabilities if capability in (None, sm)]
            if each_once and wanted:
                wanted = [wanted[number % len(wanted)]]
            found += [(module.__name__, number, sm, variant.name) for sm in wanted]
        if not names:
            complaints.append(f"{short} has kernels, but its variants() yields none")
    return found, complaints


def compile_job(job: tuple[str, int, int, str]) -> Compiled:
    """Compile one variant and look at what came of it."""
    name, number, capability, title = job
    short = name.removeprefix("loraplex_kernels.")
    variant = list(importlib.import_module(name).variants())[number]
    result = partial(Compiled, short, title, capability)
    try:
        kernel = compile_variant(variant, capability)
    except Exception as error:  # whatever the compiler raises is the finding
        return result(error=f"does not compile: {type(error).__name__}: {str(error).strip()[-600:]}")
    usage = _resources(kernel.asm["cubin"])
    shared, stack, ptx = kernel.metadata.shared, usage["STACK"] + usage.get("LOCAL", 0), kernel.asm["ptx"]
    limit = SHARED_LIMIT[capability]
    wrong = [f"spills {stack} bytes of registers"] if stack else []
    if shared > limit:
        wrong.append(f"wants {shared} bytes of shared memory of {limit}")
    wide, loads = len(re.findall(WIDE, ptx)), len(re.findall(LOAD, ptx))
    return result(usage["REG"], stack, shared, wide, loads, "; ".join(wrong))


def compile_variant(variant: Any, capability: int) -> Any:
    """What Triton makes of a variant for a card, which need not be here."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = list(variant.kernel.arg_names)
    unknown = {*variant.signature, *variant.constants, *variant.divisible} - {*names}
    missing = {*names} - {*variant.signature, *variant.constants}
    if unknown or missing:
        raise ValueError(f"the variant knows arguments {sorted(unknown)} that the kernel has not, or lacks {missing}")
    signature = {name: "constexpr" if name in variant.constants else variant.signature[name] for name in names}
    source = ASTSource(
        variant.kernel,
        signature,
        {(names.index(name),): value for name, value in variant.constants.items()},
        {(names.index(name),): [["tt.divisibility", 16]] for name in variant.divisible},
    )
    options = {"num_warps": variant.num_warps, "num_stages": variant.num_stages, **(variant.options or {})}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def _resources(cubin: bytes) -> dict[str, int]:
    """REG, STACK, SHARED, LOCAL as NVIDIA's own tool tells them."""
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        binary.write_bytes(cubin)
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(binary)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {key: int(value) for key, value in re.findall(r"\b([A-Z]+):(\d+)", done.stdout)}


def compile_all(
    words: Sequence[str], capability: int | None, each_once: bool, processes: int
) -> tuple[list[Compiled], list[str]]:
    """Compile what the words pick.

    Returns:
        What came of each variant, and complaints about modules.
    """
    todo, complaints = jobs(words, capability, each_once)
    # Each process of its own beginning: torch's threads do not survive a fork.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(compile_job, todo)), complaints


def table(found: Sequence[Compiled]) -> str:
    """For people: one line a variant and card."""
    header = f"{'module':<34}{'variant':<30}{'sm':>4}{'regs':>6}{'stack':>7}{'shared':>8}{'16-byte loads':>15}"
    lines = [
        f"{row.module:<34}{row.name:<30}{row.capability:>4}{row.registers:>6}{row.stack:>7}{row.shared:>8}"
        f"{f'{row.wide} of {row.loads}':>15}{'  ' + row.error if row.error else ''}"
        for row in found
    ]
    return "\n".join([header, *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--capability", type=int, choices=SHARED_LIMIT)
    parser.add_argument("--each-once", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(arguments)
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        parser.error("interpreted kernels do not compile: unset TRITON_INTERPRET")
    found, complaints = compile_all(options.words, options.capability, options.each_once, options.processes)
    if options.json:
        print(json.dumps({"variants": [asdict(row) for row in found], "complaints": complaints}))
    else:
        print(table(found))
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints or any(row.error for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
