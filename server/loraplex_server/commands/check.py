"""What one adapter is, and whether a model could be served with it, without the model's weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.text import Text

from loraplex_adapters.base import BaseShape
from loraplex_adapters.errors import AdapterError, AdapterRefusedError
from loraplex_adapters.fingerprint import CONFIG_FILE, FILES, fingerprint
from loraplex_adapters.methods import method_of
from loraplex_adapters.package import Package, inspect
from loraplex_adapters.peft_config import LONGEST, parse_lora, read_values
from loraplex_adapters.source import AdapterSource
from loraplex_adapters.tensor_file import TensorHeader, read_header
from loraplex_server.api.rendering.tokenizer_files import NAMES
from loraplex_server.commands.error import CommandError
from loraplex_server.commands.outline import Outline, outline
from loraplex_server.commands.tables import fact_table
from loraplex_server.engine.device import resolve_dtype
from loraplex_server.engine.dtype import checkpoint_dtype
from loraplex_server.models.blueprint import blueprint
from loraplex_server.models.describe import describe, read_config
from loraplex_server.models.errors import ModelError
from loraplex_server.models.folder import model_folder
from loraplex_server.settings.quantity import format_bytes


@dataclass
class Finding:
    """Of one adapter; `reasons` are why it would be refused."""

    path: str
    model: str | None
    outline: Outline = field(default_factory=Outline)
    tensors: int | None = None
    dtypes: list[str] = field(default_factory=list)
    disk_bytes: int = 0
    memory_bytes: int | None = None
    memory_dtype: str | None = None
    sites: int | None = None  # linears that get a low-rank update
    traits: list[str] = field(default_factory=list)
    tokenizer_files: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing speaks against it."""
        return not self.reasons

    def fields(self) -> dict[str, Any]:
        """For JSON."""
        found = asdict(self)
        return {"ok": self.ok, **found.pop("outline"), **found}

    def table(self) -> RenderableType:
        """For people: what it is, then the verdict."""
        about = self.outline
        facts = {
            "adapter": self.path,
            "method": about.method,
            "rank": ", ".join(map(str, about.ranks)),
            "targets": ", ".join(about.targets),
            "trained on": about.base_model or "",
            "tensors": "" if self.tensors is None else f"{self.tensors}, {', '.join(self.dtypes)}",
            "binds": "" if self.sites is None else f"{self.sites} linears",
            "also": "; ".join(self.traits),
            "on disk": format_bytes(self.disk_bytes),
            "in memory": "" if self.memory_bytes is None else f"{format_bytes(self.memory_bytes)}, {self.memory_dtype}",
            "tokenizer": ", ".join(self.tokenizer_files),
        }
        return Group(fact_table(facts), Text(), *self._verdict())

    def _verdict(self) -> Iterator[Text]:
        if self.reasons:
            yield Text("It would be refused:", style="bold red")
            yield from (Text(f"  - {reason}") for reason in self.reasons)
        elif self.model is None:
            yield Text("Its files are sound; --model MODEL also checks whether they fit.", style="bold green")
        else:
            yield Text(f"It fits {self.model}: everything that its config selects binds.", style="bold green")


def check_adapter(path: str, model: str | None) -> Finding:
    """Look at an adapter's files.

    Args:
        path: its folder.
        model: a checkpoint's folder or a hub id, of which only the config is read; None checks the files alone.

    Raises:
        CommandError: there is no such folder, or the model cannot be served.
    """
    folder = os.path.abspath(os.path.expanduser(path))
    if not os.path.isdir(folder):
        raise CommandError(f"{path} is no folder")
    base = None if model is None else _base(model)
    name = os.path.basename(folder)
    finding = Finding(path=path, model=model, disk_bytes=_disk_bytes(folder))
    finding.tokenizer_files = [file for file in NAMES if os.path.isfile(os.path.join(folder, file))]
    with _reasons(finding):
        _check_config(name, folder)
    header = None
    with _reasons(finding):
        header = read_header(name, folder)
        finding.tensors = len(header.tensors)
        finding.dtypes = _dtypes(header)
    finding.outline = outline(folder, header)
    if base is not None:
        shape, dtype = base
        with _reasons(finding):
            source = AdapterSource(name=name, path=folder, fingerprint=fingerprint(folder))
            _note_fit(finding, inspect(source, shape, dtype), shape)
    return finding


@contextmanager
def _reasons(finding: Finding) -> Iterator[None]:
    """What is found to be wrong goes on the list, once."""
    found: tuple[str, ...] = ()
    try:
        yield
    except AdapterRefusedError as error:
        found = error.reasons
    except (AdapterError, OSError) as error:
        found = (str(error),)
    finding.reasons += [reason for reason in found if reason not in finding.reasons]


def _base(model: str) -> tuple[BaseShape, torch.dtype]:
    """What there is to bind to, and the format that a CPU server would keep adapters in."""
    try:
        folder = model_folder(model, weights=False)
        config = describe(folder)
    except (ModelError, ValueError) as error:
        raise CommandError(str(error)) from error
    dtype = resolve_dtype("auto", checkpoint_dtype(read_config(folder)), torch.device("cpu"))
    return blueprint(config).shape(config, tied=config.tie_embeddings), dtype


def _check_config(name: str, folder: str) -> None:
    """What the config alone can tell."""
    path = os.path.join(folder, CONFIG_FILE)
    if not os.path.isfile(path):
        raise AdapterRefusedError(name, [f"there is no {CONFIG_FILE}"])
    with open(path, "rb") as file:
        values = read_values(name, file.read(LONGEST + 1))
    method_of(name, values)
    if values["peft_type"] == "LORA":
        parse_lora(name, values)


def _note_fit(finding: Finding, package: Package, base: BaseShape) -> None:
    recipe = package.recipe
    finding.memory_bytes = package.nbytes
    finding.memory_dtype = str(package.dtype).removeprefix("torch.")
    finding.sites = len(recipe.sites)
    reached = {base.sites[site.site].name.rpartition(".")[2] for site in recipe.sites}
    finding.outline = replace(finding.outline, targets=tuple(sorted({*finding.outline.targets, *reached})))
    traits = recipe.traits
    says = {
        f"{traits.virtual_tokens} virtual tokens": traits.virtual_tokens,
        f"begins to act at the tokens {list(traits.invocation)}": traits.invocation,
        f"a vocabulary of {traits.input_vocab}": traits.input_vocab,
        f"an output vocabulary of {traits.output_vocab}": traits.output_vocab,
    }
    finding.traits = [text for text, value in says.items() if value]


def _dtypes(header: TensorHeader) -> list[str]:
    return sorted({spec.dtype for spec in header.tensors.values()})


def _disk_bytes(folder: str) -> int:
    paths = (os.path.join(folder, file) for file in (*FILES, *NAMES))
    return sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
