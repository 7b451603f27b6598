"""The rows of one peer, as compare.py has them: `python benchmarks/peers/run.py vllm|llama-bf16|llama-q4 [options]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of all benchmarks, as for its own scripts

import compare
from contest.contenders import PEERS


def main(arguments: Sequence[str] | None = None) -> int:
    """compare.py's status; 2 where no peer is named."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] not in PEERS:
        print(f"run.py: name one of {', '.join(PEERS)}; then compare.py's options", file=sys.stderr)
        return 2
    return compare.run_as_command(["--servers", given[0], *given[1:]])


if __name__ == "__main__":
    sys.exit(main())
