"""Rules about the tree itself that nothing else would notice being broken."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("server", "kernels", "adapters")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("name", FOLDERS)
def test_no_root_folder_is_a_package(name: str) -> None:
    """transformers imports a top-level package called `kernels` where it finds one, and then loads no model."""
    assert not (ROOT / name / "__init__.py").exists()
    spec = importlib.util.find_spec(name)
    assert spec is None or spec.origin is None or ROOT / name not in Path(spec.origin).parents


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 300, "which noun is hiding in it?"
    long = [
        f"{node.name}: {(node.end_lineno or node.lineno) - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not _is_kernel(node)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > 60
    ]
    assert not long


def _is_kernel(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A Triton kernel's signature alone is a page: a line for each pointer, stride and tile, under four headings."""
    return any(ast.unparse(decorator).partition("(")[0] == "triton.jit" for decorator in node.decorator_list)


def test_architecture_has_an_up_to_date_line_for_every_module() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "modules.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_registry_host_or_machine_path_is_named() -> None:
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "registry.npmjs" + ".org", "deb.debian" + ".org"]
    found = subprocess.run(
        ["git", "grep", "-nIE", "|".join(hosts), "--", "."], cwd=ROOT, capture_output=True, text=True
    )
    if found.returncode == 128:
        pytest.skip("not a git checkout")
    assert found.stdout == ""
