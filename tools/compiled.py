"""What the Triton kernels become: registers, spills, shared memory and loads of every variant, compiled without a GPU.

    python tools/compiled.py [WORD ...] [--capability 90] [--covering 2] [--json] [--processes 2]

Runs the host wrappers (launches/) on cards that are not there, with all that their launches depend on, and compiles
what they launch: every combination, thousands of them, or with --covering so many that any two values, or any three,
of those meet, the card being one; words pick those whose module, kernel or name has one of them. Ends with status 1
where a variant does not compile, spills registers, or wants more registers or shared memory than the card has, and
where a kernel is never launched. Triton's own cache (TRITON_CACHE_DIR) makes the second run a quick one.
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

ROOT = Path(__file__).parents[1]
KERNELS = ROOT / "kernels"
sys.path[:0] = [str(KERNELS), str(ROOT / "tools"), str(ROOT / "tests")]
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # what Triton does today, and warns of once a process

from launches import Variant  # noqa: E402 - where it lies is said above
from launches.families import FAMILIES  # noqa: E402
from support.covering import covering  # noqa: E402

# Bytes that one block may ask for: the CUDA programming guide's table of technical specifications, by capability.
SHARED_LIMIT = {80: 166_912, 89: 101_376, 90: 232_448, 100: 232_448, 120: 101_376}
REGISTER_FILE = 65536  # of a block, on all of these
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
    """Names of the kernels that a module itself defines; what kernels call has another ending."""
    from triton.runtime.jit import JITFunction

    found = [name for name, value in vars(module).items() if isinstance(value, JITFunction)]
    return [name for name in found if name.endswith("_kernel") and vars(module)[name].fn.__module__ == module.__name__]


def jobs(words: Sequence[str], capability: int | None, strength: int | None = None) -> tuple[list[Variant], list[str]]:
    """What is to be compiled, and complaints.

    Args:
        words: one of which a variant's module, kernel or name must have, if there are any.
        capability: of the only card, or None.
        strength: how many of the values must meet in all their combinations; None for all.
    """
    found: dict[Any, Variant] = {}
    for family in FAMILIES:
        rows = [row for row in family.rows() if capability in (None, row[0])]
        chosen = range(len(rows)) if strength is None else covering(rows, strength)
        for number in chosen:
            for variant in family.variants(rows[number]):
                found.setdefault(variant.form, variant)
    launched = {(variant.module, variant.function) for variant in found.values()}
    complaints = [
        f"{_short(module.__name__)}.{name} is never launched"
        for module in modules()
        for name in kernels_of(module)
        if capability is None and (module.__name__, name) not in launched
    ]
    titles = {form: f"{_short(form[0])} {form[1]} {variant.name}" for form, variant in found.items()}
    return [
        found[form] for form, title in titles.items() if not words or any(word in title for word in words)
    ], complaints


def compile_job(variant: Variant) -> Compiled:
    """Compile one variant and look at what came of it."""
    result = partial(Compiled, _short(variant.module), f"{variant.function} {variant.name}", variant.capability)
    try:
        kernel = compile_variant(variant)
    except Exception as error:  # whatever the compiler raises is the finding
        return result(error=f"does not compile: {type(error).__name__}: {str(error).strip()[-600:]}")
    usage = _resources(kernel.asm["cubin"])
    shared, stack, ptx = kernel.metadata.shared, usage["STACK"] + usage.get("LOCAL", 0), kernel.asm["ptx"]
    limit = SHARED_LIMIT[variant.capability]
    wrong = [f"spills {stack} bytes of registers"] if stack else []
    # Registers are given to warps in units of eight a thread. --maxnreg lets the assembler use more than would fit.
    taken = -(-usage["REG"] // 8) * 8 * 32 * variant.num_warps
    if taken > REGISTER_FILE:
        wrong.append(f"wants {taken} registers of {REGISTER_FILE}, and cannot be launched")
    if shared > limit:
        wrong.append(f"wants {shared} bytes of shared memory of {limit}")
    wide, loads = len(re.findall(WIDE, ptx)), len(re.findall(LOAD, ptx))
    return result(usage["REG"], stack, shared, wide, loads, "; ".join(wrong))


def compile_variant(variant: Variant) -> Any:
    """What Triton makes of a variant for its card, which need not be here."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = list(variant.kernel.arg_names)
    signature = {name: "constexpr" if name in variant.constants else variant.signature[name] for name in names}
    source = ASTSource(
        variant.kernel,
        signature,
        {(names.index(name),): value for name, value in variant.constants.items()},
        {(names.index(name),): [["tt.divisibility", 16]] for name in variant.divisible},
    )
    options = {"num_warps": variant.num_warps, "num_stages": variant.num_stages, **(variant.options or {})}
    return triton.compile(source, target=GPUTarget("cuda", variant.capability, 32), options=options)


def _short(module: str) -> str:
    return module.removeprefix("loraplex_kernels.")


def _resources(cubin: bytes) -> dict[str, int]:
    """REG, STACK, SHARED, LOCAL as NVIDIA's own tool tells them."""
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        binary.write_bytes(cubin)
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(binary)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {key: int(value) for key, value in re.findall(r"\b([A-Z]+):(\d+)", done.stdout)}


def compile_all(todo: Sequence[Variant], processes: int) -> list[Compiled]:
    """What comes of each."""
    # Each process of its own beginning: torch's threads do not survive a fork.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(compile_job, todo))


def table(found: Sequence[Compiled]) -> str:
    """For people: one line a variant and card."""
    header = f"{'variant':<92}{'sm':>4}{'regs':>6}{'stack':>7}{'shared':>8}{'16-byte loads':>15}"
    lines = [
        f"{f'{row.module} {row.name}':<92}{row.capability:>4}{row.registers:>6}{row.stack:>7}{row.shared:>8}"
        f"{f'{row.wide} of {row.loads}':>15}{'  ' + row.error if row.error else ''}"
        for row in found
    ]
    return "\n".join([header, *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--capability", type=int, choices=SHARED_LIMIT)
    parser.add_argument("--covering", type=int, metavar="N")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args(arguments)
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        parser.error("interpreted kernels do not compile: unset TRITON_INTERPRET")
    todo, complaints = jobs(options.words, options.capability, options.covering)
    found = compile_all(todo, options.processes)
    if options.json:
        print(json.dumps({"variants": [asdict(row) for row in found], "complaints": complaints}))
    else:
        print(table(found))
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints or any(row.error for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
