"""The lines of a page that call docker, and what they ask for."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.containers import Shape
from support.typed_lines import typed_lines

# Options with a value, and those that say what every container here is anyway.
VALUED = {"-p", "-v", "-e", "--tmpfs", "--cap-drop", "--security-opt", "--gpus"}
BARE = {"--rm", "--read-only"}


@dataclass(frozen=True)
class Run:
    """One `docker run`. Args: options: values by name. command: behind the image."""

    image: str
    command: list[str]
    options: dict[str, list[str]] = field(default_factory=dict)

    def shape(self, folder: Path) -> Shape:
        """As runc runs it. Args: folder: that stands for $PWD, and holds volumes."""
        bound, writable = {}, {}
        for volume in self.options.get("-v", ()):
            source, destination, *mode = volume.split(":")
            place = Path(source.replace("$PWD", str(folder))) if source.startswith("$") else folder / source
            (bound if mode == ["ro"] else writable)[place] = destination
        return Shape(
            command=self.command,
            environment=dict(each.split("=", 1) for each in self.options.get("-e", ())),
            bound=bound,
            writable=writable,
            tmpfs=self.options.get("--tmpfs", ()),
            read_only="--read-only" in self.options,
        )


def docker_lines(page: Path, command: str) -> list[str]:
    """Arguments of all `$ docker COMMAND ...` of a page."""
    lines = typed_lines(page.read_text(encoding="utf-8"), "docker", command)
    return [line.removeprefix(f"docker {command} ") for line in lines]


def read_run(line: str) -> Run:
    """Raises ValueError for an option that is not known here."""
    words = iter(shlex.split(line))
    options: dict[str, list[str]] = {}
    for word in words:
        if not word.startswith("-"):
            return Run(word, list(words), options)
        if word in VALUED:
            options.setdefault(word, []).append(next(words))
        elif word in BARE:
            options[word] = []
        else:
            raise ValueError(f"docker run {word}")
    raise ValueError("docker run without an image")


def build_arguments(line: str) -> Iterator[str]:
    """Names of what a `docker build` sets."""
    words = shlex.split(line)
    for option, value in itertools.pairwise(words):
        if option == "--build-arg":
            yield value.split("=")[0]
