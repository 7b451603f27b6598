"""Write a model of a real shape with random weights, and adapters for it. See benchmarks/README.md."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from synthetic.blueprint import Blueprint, shape_config
from synthetic.model import ModelFolderError, is_made, make_model
from synthetic.shapes import SHAPES

from loraplex_server.bench.load.counts import not_negative, positive


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 2 where the command cannot be carried out."""
    given = _parser().parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    try:
        ranks = given.ranks or [given.rank]
        make(given.shape, given.out, given.adapters, ranks, given.seed, given.adapter_dtype, console)
    except ModelFolderError as error:
        console.print(f"make_model.py: {error}", style="red", markup=False)
        return 2
    return 0


def make(
    shape: str, out: Path, adapters: int, ranks: Sequence[int], seed: int, adapter_dtype: str, console: Console
) -> None:
    """The model in `out`, unless it is there already, and `adapters` adapters in `out/adapters`.

    Raises:
        ModelFolderError: `out` holds another model.
    """
    start = time.perf_counter()
    if is_made(shape, out):
        console.print(f"{out}: {shape} is there already", markup=False)
    else:
        total = make_model(shape, out, seed)
        console.print(f"{out}: {shape}, {total / 1e9:.2f} GB, {time.perf_counter() - start:.1f} s", markup=False)
    if adapters:
        # peft takes seconds to import.
        from synthetic.adapters import make_adapters

        start = time.perf_counter()
        blueprint, dtype = Blueprint(shape_config(shape)), getattr(torch, adapter_dtype)
        made = make_adapters(out / "adapters", blueprint, str(out), adapters, ranks, seed, dtype)
        size = (made[-1] / "adapter_model.safetensors").stat().st_size / 1e6
        note = f"{len(made)} adapters, the last of {size:.1f} MB, {time.perf_counter() - start:.1f} s"
        console.print(f"{out / 'adapters'}: {note}", markup=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make_model.py", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model's folder")
    parser.add_argument("--adapters", type=not_negative, default=0, metavar="N", help="how many, into DIR/adapters")
    ranks = parser.add_mutually_exclusive_group()
    ranks.add_argument("--rank", type=positive, default=16, help="of every adapter")
    ranks.add_argument("--ranks", type=_ranks, metavar="R,R,..", help="of the adapters in turn, for example 4,8,16,64")
    parser.add_argument("--adapter-dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--seed", type=int, default=1234)
    return parser


def _ranks(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
