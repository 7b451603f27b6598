"""A quantized weight as a file: safetensors, four-bit codes two a byte, and a digest of it all."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from loraplex_kernels.linear import nibbles
from loraplex_kernels.linear.forms import Float8, GroupedInts, Lookup, WeightForm, tensors

_KINDS: Mapping[str, Any] = {kind.__name__: kind for kind in (GroupedInts, Lookup, Float8)}
_HALVED = "codes in halves"


class DamagedFileError(Exception):
    """The file is not what was written."""


def write_form(path: Path, form: WeightForm, module: str) -> None:
    """Write the weight of a module in one step: whoever reads the file finds the old one or the new, never a part.

    Raises:
        OSError: it cannot be written.
    """
    arrays = {name: tensor.cpu().contiguous() for name, tensor in tensors(form).items()}
    description = {
        "module": module,
        "kind": type(form).__name__,
        "inputs": form.shape[1],
        "numbers": {f.name: v for f in fields(form) if not isinstance(v := getattr(form, f.name), Tensor)},
    }
    if isinstance(form, Lookup) or (isinstance(form, GroupedInts) and form.bits == 4):
        arrays[_HALVED] = nibbles.pack(arrays.pop("codes"))
    text = json.dumps(description, sort_keys=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")  # in containers, pids are often the same
    try:
        save_file(arrays, temporary, {"form": text, "digest": _digest(text, arrays)})
        os.replace(temporary, path)
    except SafetensorError as error:  # how safetensors says that the disk is full
        raise OSError(f"{path} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read_form(path: Path, module: str) -> WeightForm:
    """What was written for the module.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: it is not whole, was changed, or is of another module.
        OSError: it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise DamagedFileError(str(error)) from error
    text = metadata.get("form", "")
    if metadata.get("digest") != _digest(text, arrays):
        raise DamagedFileError("its digest is another")
    description = json.loads(text)
    if description["module"] != module:
        raise DamagedFileError(f"it is of {description['module']}")
    if _HALVED in arrays:
        arrays["codes"] = nibbles.unpack(arrays.pop(_HALVED), description["inputs"])
    form: WeightForm = _KINDS[description["kind"]](**arrays, **description["numbers"])
    return form


def _digest(text: str, arrays: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
        digest.update(array.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
