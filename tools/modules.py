"""Write the list of modules in docs/architecture.md anew: each one's line is the first of its docstring.

python tools/modules.py            # rewrites the page
python tools/modules.py --check    # says whether it is up to date, and changes nothing
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from written import ROOT, written

PAGE = ROOT / "docs" / "architecture.md"
HEADING = "## Where things are\n"
PACKAGES = ("server/loraplex_server", "adapters/loraplex_adapters", "kernels/loraplex_kernels")


def listing() -> str:
    """The section: a heading a folder, a line a module."""
    lines = [HEADING]
    for package in PACKAGES:
        folders = sorted({path.parent for path in (ROOT / package).rglob("*.py")})
        for folder in folders:
            modules = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
            about = _first_line(folder / "__init__.py")
            lines.append(f"\n### `{folder.relative_to(ROOT)}/`{' — ' + about if about else ''}\n")
            lines += [f"- `{path.name}`: {_first_line(path)}" for path in modules]
    return "\n".join(lines) + "\n"


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n\n")[0].replace("\n", " ")


def main() -> int:
    """0, or 1 when the page was checked and is stale."""
    page = PAGE.read_text(encoding="utf-8")
    fresh = page[: page.index(HEADING)] + listing()
    return written({PAGE: fresh}, __file__, "--check" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
