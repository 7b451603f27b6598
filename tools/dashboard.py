"""Write deploy/grafana/dashboards/loraplex.json anew: the dashboard, from the modules of tools/panels.

python tools/dashboard.py            # rewrites it
python tools/dashboard.py --check    # says whether it is up to date, and changes nothing
"""

from __future__ import annotations

import json
import sys

from written import ROOT, written

FILE = ROOT / "deploy" / "grafana" / "dashboards" / "loraplex.json"
# Older Pythons have no release of grafana-foundation-sdk.
NEEDED = (3, 11)


def text() -> str:
    """The dashboard as JSON."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from panels.board import board

    return json.dumps(board(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> int:
    """0, or 1 when the file was checked and is stale."""
    check = "--check" in sys.argv[1:]
    if sys.version_info < NEEDED:
        print(f"{FILE.relative_to(ROOT)} is made by Python {'.'.join(map(str, NEEDED))} or newer: left as it is")
        return int(not check)
    return written({FILE: text()}, __file__, check)


if __name__ == "__main__":
    sys.exit(main())
