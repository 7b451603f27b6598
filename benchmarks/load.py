"""Load on any OpenAI-compatible server: `loraplex bench serve`, from a checkout. See benchmarks/README.md."""

from __future__ import annotations

import sys

from loraplex_server.commands.bench_serve import bench_serve

if __name__ == "__main__":
    sys.exit(bench_serve(sys.argv[1:], "load.py"))
