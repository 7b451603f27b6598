"""Write deploy/grafana/dashboards/loraplex.json anew: the dashboard, from the modules of tools/panels.

python tools/dashboard.py            # rewrites it
python tools/dashboard.py --check    # says whether it is up to date, and changes nothing
"""

from __future__ import annotations

import json
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from panels.board import board
from written import ROOT, written

FILE = ROOT / "deploy" / "grafana" / "dashboards" / "loraplex.json"


def text() -> str:
    """The dashboard as JSON."""
    return json.dumps(board(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> int:
    """0, or 1 when the file was checked and is stale."""
    return written({FILE: text()}, __file__, "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
