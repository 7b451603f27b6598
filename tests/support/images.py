"""The real image: the Dockerfile, built by buildah on a Debian made here; what was built before is used again."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.installed import program
from support.servers import ROOT

FOLDER = (ROOT / "build").resolve() / "image"
# What the Dockerfile's BASE is called; Debian 12 has the same Python.
BASE = "docker.io/library/python:3.11-slim-bookworm"
NAME = "localhost/loraplex:test"
PACKAGES = "ca-certificates,python3-minimal,python3-venv"
LIMIT_S = 1500
MOST_LAYERS = 600  # after which all are thrown away: each change of a source leaves some


@dataclass(frozen=True)
class Image:
    """Args: rootfs: its files, to be left as they are. config: what Docker calls so."""

    rootfs: Path
    config: dict[str, Any]

    @property
    def environment(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.config["Env"])


@contextlib.contextmanager
def built_image() -> Iterator[Image]:
    """Build it, or find it built; its files can be looked at while the block runs, and nobody else builds meanwhile."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("images are built as root, on Linux")
    for needed in ("buildah", "mmdebstrap", "runc"):
        program(needed)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        buildah("rm", "-a")  # what a build left that was killed
        _have_base()
        _have_torch()
        _build()
        container = buildah("from", "--pull-never", NAME).strip()
        try:
            rootfs = Path(buildah("mount", container).strip())
            yield Image(rootfs, json.loads(buildah("inspect", "--type", "image", NAME))["Docker"]["config"])
        finally:
            buildah("rm", container)


def buildah(*arguments: str, limit_s: float = 120) -> str:
    """Its output; what it complains of, where it fails."""
    stored = ["--root", str(FOLDER / "storage"), "--runroot", str(FOLDER / "run"), "--storage-driver", _driver()]
    done = subprocess.run(
        [program("buildah"), *stored, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=limit_s
    )
    assert done.returncode == 0, f"buildah {arguments[0]}: {done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def _driver() -> str:
    """Overlay, unless these files lie on one themselves; vfs copies every layer whole."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", FOLDER], check=True, capture_output=True, text=True).stdout
    return "vfs" if kind.strip() == "overlayfs" else "overlay"


def _build() -> None:
    if len(buildah("images", "-aq").split()) > MOST_LAYERS:
        buildah("rmi", "-af", limit_s=600)
        _have_base()
    buildah(
        *("bud", "--layers", "--isolation", "chroot", "--pull-never", "--format", "docker"),
        # Whom this machine trusts, and the wheel of torch that it has.
        *("-v", "/etc/ssl/certs:/etc/ssl/certs:ro", "-v", f"{FOLDER / 'index'}:/index:ro"),
        *("--build-arg", "TORCH_INDEX=file:///index", "-t", NAME, "."),
        limit_s=LIMIT_S,
    )


def _have_base() -> None:
    tar = FOLDER / "base.tar"
    if not tar.exists():
        part = FOLDER / "part.tar"
        _run("mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(part))
        part.replace(tar)
    if BASE in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        return
    recipe = FOLDER / "Dockerfile.base"
    recipe.write_text("FROM scratch\nADD base.tar /\n", encoding="utf-8")
    buildah("bud", "--format", "docker", "-q", "-t", BASE, "-f", str(recipe), str(FOLDER), limit_s=LIMIT_S)


def _have_torch() -> None:
    """An index of the one wheel that this environment has, where a CPU's torch can be had."""
    version = importlib.metadata.version("torch")
    folder = FOLDER / "index" / "torch"
    if not list(folder.glob(f"torch-{version}-*.whl")):
        folder.mkdir(parents=True, exist_ok=True)
        index = os.environ.get("TORCH_INDEX")
        command = ["download", "-q", "--no-deps", "-d", str(folder), f"torch=={version}"]
        _run(sys.executable, "-m", "pip", *command, *(["--extra-index-url", index] if index else []))
    links = [f'<a href="{quote(wheel.name)}">{wheel.name}</a>' for wheel in sorted(folder.glob("*.whl"))]
    (folder / "index.html").write_text("\n".join(links), encoding="utf-8")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, f"{command[0]}: {done.stderr[-2000:]}"
