"""Makes the bundled demo from nothing: `python examples/train.py --out examples/demo`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from training.adapters import save_adapter, train_adapter
from training.base import save_base, train_base
from training.evaluate import load_base, load_tokenizer
from training.manifest import write_manifest
from training.recipe import RECIPES
from training.tokenizer import train_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write base/, adapters/ and manifest.json to")
    parser.add_argument("--seed", type=int, default=0, help="the same seed on the same machine makes the same weights")
    parser.add_argument("--threads", type=int, default=2, help="of torch; 1 is faster where others use the machine")
    parser.add_argument("--keep-base", action="store_true", help="train adapters only, on the base that is in --out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    started = time.monotonic()

    if not args.keep_base:
        tokenizer = train_tokenizer(args.seed)
        save_base(train_base(tokenizer, args.seed), tokenizer, args.out / "base")
    tokenizer = load_tokenizer(args.out / "base")
    for recipe in RECIPES:
        # A fresh base each time: PEFT puts its modules into the one it is given.
        base = load_base(args.out / "base", torch.float32)
        save_adapter(train_adapter(recipe, base, tokenizer, args.seed), recipe, args.out / "adapters" / recipe.task)
    print(f"trained in {time.monotonic() - started:.0f} s", flush=True)
    write_manifest(args.out, args.seed)


if __name__ == "__main__":
    main()
