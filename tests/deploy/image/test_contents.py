"""What is in the image, and what is not."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import Image

from loraplex_server import __version__

pytestmark = pytest.mark.slow
WRITABLE = {"/cache", "/state"}
FOR_ALL = {"/tmp", "/var/tmp", "/run/lock"}
UNCHECKED = 0b01  # PEP 552: the bytecode holds a hash of its source, which is not looked at


@pytest.fixture(scope="module")
def packages(image: Image) -> Path:
    (folder,) = (image.rootfs / "opt" / "loraplex" / "lib").glob("python3*/site-packages")
    return folder


def walk(image: Image) -> Iterator[tuple[str, os.stat_result]]:
    """Paths as the image has them, and what they are; links are not followed."""
    for folder, folders, files in os.walk(image.rootfs):
        for name in (*folders, *files):
            path = Path(folder, name)
            yield "/" + str(path.relative_to(image.rootfs)), path.lstat()


def test_it_says_what_it_is(image: Image) -> None:
    label = {name.removeprefix("org.opencontainers.image."): text for name, text in image.config["Labels"].items()}
    assert label["title"] == "Loraplex"
    assert label["licenses"] == "Apache-2.0"
    assert label["version"] == __version__
    assert {"description", "revision", "source"} <= set(label)


def test_it_is_run_as_agreed(image: Image) -> None:
    assert image.config["Entrypoint"] == ["loraplex"]
    assert image.config["Cmd"] == ["serve"]
    assert image.config["User"] == "10001:10001"
    assert set(image.config["ExposedPorts"]) == {"8000/tcp"}
    assert image.config["StopSignal"] == "SIGTERM"
    wanted = {"LORAPLEX_HOST": "0.0.0.0", "HOME": "/cache", "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    assert wanted.items() <= image.environment.items()
    assert image.environment["HF_HOME"].startswith("/cache/")


def test_its_user_owns_the_cache_and_the_state_and_nothing_else(image: Image) -> None:
    owned = {path for path, about in walk(image) if about.st_uid == 10001 or about.st_gid == 10001}
    assert owned == WRITABLE


def test_nothing_gives_rights_and_nothing_is_for_everybody_to_write(image: Image) -> None:
    open_to_all, rights = set(), set()
    for path, about in walk(image):
        if stat.S_ISLNK(about.st_mode) or path.startswith(("/dev/", "/proc/", "/sys/")):
            continue
        if about.st_mode & stat.S_IWOTH:
            open_to_all.add(path)
        if stat.S_ISREG(about.st_mode) and about.st_mode & (stat.S_ISUID | stat.S_ISGID):
            rights.add(path)
    assert rights == set()
    assert open_to_all <= FOR_ALL


def test_there_is_no_compiler_no_pip_and_no_cuda_in_the_one_for_cpus(image: Image, packages: Path) -> None:
    for name in ("usr/bin/cc", "usr/bin/gcc", "opt/loraplex/bin/pip"):
        assert not (image.rootfs / name).exists()
    unwanted = re.compile(r"nvidia|triton|ziglang|hatchling|pytest|pip$", re.IGNORECASE)
    assert [path.name for path in packages.iterdir() if unwanted.match(path.name)] == []


def test_it_has_the_compiled_kernels(packages: Path) -> None:
    names = {path.name for path in (packages / "loraplex_kernels" / "_native").glob("*.so")}
    assert "loraplex_x86_64_v3.so" in names or "loraplex_aarch64.so" in names


def test_bytecode_is_there_and_needs_no_look_at_its_source(packages: Path) -> None:
    for module in ("loraplex_server/cli", "torch/__init__", "transformers/__init__"):
        path = packages / module
        (compiled,) = (path.parent / "__pycache__").glob(f"{path.name}.cpython-*.pyc")
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == UNCHECKED


def test_it_is_not_larger_than_torch_makes_it(image: Image, packages: Path) -> None:
    sizes = sorted(((size_of(path) / 2**20, path.name) for path in packages.iterdir()), reverse=True)
    assert size_of(image.rootfs) < 1400 * 2**20, sizes[:8]


def size_of(path: Path) -> int:
    if path.is_file():
        return path.lstat().st_size
    return sum(each.lstat().st_size for each in path.rglob("*") if each.is_file() and not each.is_symlink())
