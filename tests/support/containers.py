"""An image as a container: an OCI bundle that runc runs, as Docker and Kubernetes have it run."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.images import Image
from support.installed import program

USER = 10001
SYSTEM = [
    ("proc", "/proc", "proc", ["nosuid", "noexec", "nodev"]),
    ("tmpfs", "/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("devpts", "/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
    ("shm", "/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("sysfs", "/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
    ("cgroup", "/sys/fs/cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
]


@dataclass(frozen=True)
class Shape:
    """How a container is run.

    Args:
        command: instead of the image's CMD. entrypoint: instead of the image's own.
        environment: beside the image's.
        bound: folder or file of this machine -> where it is seen, read-only.
        writable: folder of this machine -> where it is seen; made, and given to the image's user.
        tmpfs: where there is room that is gone afterwards.
        read_only: whether all the rest is.
        cpus: of time; None: as much as there is.
    """

    command: Sequence[str] | None = None
    entrypoint: Sequence[str] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    bound: Mapping[Path, str] = field(default_factory=dict)
    writable: Mapping[Path, str] = field(default_factory=dict)
    tmpfs: Sequence[str] = ("/tmp",)
    read_only: bool = True
    cpus: float | None = None

    def bundle(self, image: Image) -> dict[str, Any]:
        """Its config.json: no capability, no way to gain one, the image's user; the network of whoever starts it."""
        entry = image.config.get("Entrypoint") or [] if self.entrypoint is None else self.entrypoint
        command = image.config.get("Cmd") or [] if self.command is None else self.command
        environment = image.environment | dict(self.environment)
        user, group = (int(part) for part in image.config["User"].split(":"))
        quota = {} if self.cpus is None else {"cpu": {"quota": int(self.cpus * 100_000), "period": 100_000}}
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": user, "gid": group},
                "args": [*entry, *command],
                "env": [f"{name}={value}" for name, value in environment.items()],
                "cwd": image.config.get("WorkingDir") or "/",
                "capabilities": {},
                "noNewPrivileges": True,
            },
            "root": {"path": str(image.rootfs), "readonly": self.read_only},
            "mounts": [*_mounts(self)],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
                "resources": quota,
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
                "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
            },
        }


@dataclass(frozen=True)
class Container:
    """A running one. Args: process: runc's, which ends with it and as it did."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def exists(self) -> bool:
        """Whether runc has made it yet."""
        return subprocess.run([program("runc"), "state", self.name], capture_output=True).returncode == 0

    def signal(self, name: str) -> None:
        """To its process 1."""
        subprocess.run([program("runc"), "kill", self.name, name], check=True)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command inside, as the same user."""
        execute = [program("runc"), "exec", "--user", f"{USER}:{USER}", self.name, *command]
        return subprocess.run(execute, capture_output=True, text=True, timeout=120)

    def processes(self) -> dict[int, str]:
        """Numbers, as this machine counts them, and command lines; one that is dead and not collected has none."""
        listed = subprocess.run([program("runc"), "ps", "-f", "json", self.name], check=True, capture_output=True)
        found = {}
        for pid in json.loads(listed.stdout):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended just now
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found


@contextlib.contextmanager
def running(image: Image, folder: Path, shape: Shape) -> Iterator[Container]:
    """Run it until the block ends. Args: folder: for its files, a new one."""
    folder.mkdir()
    for made in shape.writable:
        made.mkdir(exist_ok=True)
        os.chown(made, USER, USER)
    (folder / "config.json").write_text(json.dumps(shape.bundle(image)), encoding="utf-8")
    name = f"loraplex-{uuid.uuid4().hex[:8]}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program("runc"), "run", "-b", folder, name], stdout=log, stderr=subprocess.STDOUT)
    try:
        yield Container(name, process, folder / "log")
    finally:
        subprocess.run([program("runc"), "kill", name, "KILL"], capture_output=True)
        process.wait(120)
        subprocess.run([program("runc"), "delete", "-f", name], capture_output=True)


def once(image: Image, folder: Path, shape: Shape, limit_s: float = 120) -> tuple[int, str]:
    """Run it to its end; its exit code and what it said."""
    with running(image, folder, shape) as container:
        code = container.process.wait(limit_s)
    return code, container.log.read_text()


def _mounts(shape: Shape) -> Iterator[dict[str, Any]]:
    for source, destination, kind, options in SYSTEM:
        yield {"source": source, "destination": destination, "type": kind, "options": options}
    for place in shape.tmpfs:
        options = ["nosuid", "nodev", "noexec", "mode=1777"]
        yield {"source": "tmpfs", "destination": place, "type": "tmpfs", "options": options}
    for places, mode in ((shape.bound, "ro"), (shape.writable, "rw")):
        for source, destination in places.items():
            options = ["rbind", "nosuid", "nodev", mode]
            yield {"source": str(source), "destination": destination, "type": "none", "options": options}
