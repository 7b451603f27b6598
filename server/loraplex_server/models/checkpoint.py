"""A checkpoint's tensors, memory-mapped and taken one by one."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from loraplex_adapters.shard import SitePart
from loraplex_server.models.errors import CheckpointError
from loraplex_server.models.mapped import MappedFiles
from loraplex_server.models.parted import WHOLE, pieces
from loraplex_server.models.shards import listed, shards

_FLOATS = {"F64", "F32", "F16", "BF16"}
# Checkpoints of old transformers carry the rotary frequencies, which the config says already.
_IGNORED = re.compile(r"\.rotary_emb\.inv_freq$")


class Checkpoint:
    """The safetensors files of a folder, single or sharded, as one mapping of names to tensors.

    A context manager: the files are mapped while it is open.

    Args:
        folder: with `model.safetensors`, or else `model.safetensors.index.json` and the shards that it names.

    Raises:
        CheckpointError: on entering: no such files (pickled ones are refused by name), or one that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fingerprint = ""  # while it is open: changes whenever one of the files does
        self._files: dict[str, Any] = {}  # tensor -> the open file that holds it
        self._given: list[Tensor] = []  # views that were handed out since the last `release`
        self._mapped = MappedFiles(())
        self._open = ExitStack()

    def __enter__(self) -> Checkpoint:
        with ExitStack() as opening:
            files = shards(self.folder)
            # Before they are opened: of files that are replaced meanwhile this is then the fingerprint of the old ones,
            # which nobody will ask for again.
            self.fingerprint = _fingerprint(files)
            for path in files:
                try:
                    file = opening.enter_context(safe_open(path, framework="pt"))
                except (OSError, SafetensorError) as error:
                    raise CheckpointError(f"{path} cannot be read: {error}") from error
                self._files.update(dict.fromkeys(file.keys(), file))
            self._mapped = MappedFiles(files)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._files.clear()
        self._given.clear()
        self._open.close()

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def holds(self, module: str) -> bool:
        """Whether there is any tensor of a module."""
        return any(name.startswith(f"{module}.") for name in self._files)

    def check(
        self,
        required: Mapping[str, Sequence[int]],
        optional: Collection[str] = (),
        quantized: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        """See that the tensors are there, and only they, before any is read.

        Args:
            required: names and shapes.
            optional: those among `required` that may be missing.
            quantized: names and shapes of more that are required, of any dtype: what stands for quantized weights.

        Raises:
            CheckpointError: tensors are missing, unexpected, of another shape, or not floating point; all are named.
        """
        found = {name for name in self._files if not _IGNORED.search(name)}
        quantized = quantized or {}
        known = {**required, **quantized}
        problems = [
            ("lacks", known.keys() - found - set(optional)),
            ("has unexpected", found - known.keys()),
        ]
        wrong = []
        for name in sorted(found & known.keys()):
            view = self._files[name].get_slice(name)
            if (shape := list(view.get_shape())) != list(known[name]):
                wrong.append(f"{name} {shape}, not {list(known[name])}")
            elif name not in quantized and (dtype := view.get_dtype()) not in _FLOATS:
                wrong.append(f"{name} in {dtype}, not floating point")
        complaints = [f"{verb} {listed(names)}" for verb, names in problems if names]
        if wrong:
            complaints.append(f"has {listed(wrong)}")
        if complaints:
            raise CheckpointError(f"checkpoint {self.folder} does not fit its config: it " + "; it ".join(complaints))

    def tensor(self, name: str) -> Tensor:
        """A view into the mapped file, valid while the checkpoint is open.

        Raises:
            KeyError: there is no such tensor.
        """
        tensor: Tensor = self._files[name].get_tensor(name)
        self._given.append(tensor)
        return tensor

    def release(self) -> None:
        """Let go of the memory behind the views handed out so far; one that is still used is read from the file again.

        Otherwise the whole checkpoint is in the process's memory by the time that it is loaded, beside what was made
        of it. The system would take the pages back when it is short of memory, but a container's limit counts them.
        """
        for tensor in self._given:
            self._mapped.discard(tensor)
        self._given.clear()

    def stack(self, names: Sequence[str], dtype: torch.dtype, cuts: Sequence[SitePart] = ()) -> Tensor:
        """Tensors of the same width copied one below the other into memory of their own, converted on the way.

        Args:
            names: of one tensor or several, `[rows, ...]` each.
            dtype: of the copy.
            cuts: what is copied of each; none: all of all.

        Returns:
            `[sum of the rows, ...]` on the CPU.
        """
        cuts = cuts or (WHOLE,) * len(names)
        parts = [piece for name, cut in zip(names, cuts, strict=True) for piece in pieces(self.tensor(name), cut)]
        stacked = torch.empty((sum(part.shape[0] for part in parts), *parts[0].shape[1:]), dtype=dtype)
        row = 0
        for part in parts:
            stacked[row : row + part.shape[0]].copy_(part)
            row += part.shape[0]
        return stacked


def _fingerprint(shards: Sequence[Path]) -> str:
    """Of the files' names, sizes, headers and times.

    The time of the last change is the file system's own and cannot be set back, so that files which were replaced by
    others of the same size and date show it too.
    """
    digest = hashlib.sha256()
    for path in shards:
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                header = file.read(min(int.from_bytes(file.read(8), "little"), status.st_size))
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        times = status.st_mtime_ns, status.st_ctime_ns
        digest.update(json.dumps([path.name, status.st_size, *times, hashlib.sha256(header).hexdigest()]).encode())
    return digest.hexdigest()[:32]
