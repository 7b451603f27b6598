"""Install the peers in build/peers: `python benchmarks/peers/install.py [vllm] [llama] [--jobs N]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the folder of all benchmarks, as for its own scripts

from loraplex_server.bench.load.counts import positive
from loraplex_server.bench.load.table import report_console
from loraplex_server.engine.cores import usable_cores
from peers import llama_install, vllm_install
from peers.steps import PeerError

NAMES = ("vllm", "llama")


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 where one could not be installed."""
    parser = argparse.ArgumentParser(prog="install.py", description=__doc__)
    parser.add_argument("peers", nargs="*", choices=[*NAMES, []], default=list(NAMES), metavar="vllm|llama")
    parser.add_argument("--jobs", type=positive, default=usable_cores(), help="of llama.cpp's build")
    given = parser.parse_args(arguments)
    console = report_console()
    failed = 0
    for name in given.peers:
        try:
            vllm_install.install(console) if name == "vllm" else llama_install.install(console, given.jobs)
        except PeerError as error:
            console.print(f"{name}: {error}", style="red", markup=False)
            failed += 1
            continue
        found = vllm_install.versions() if name == "vllm" else llama_install.versions()
        console.print(f"{name}: {', '.join(f'{package} {version}' for package, version in (found or {}).items())}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
