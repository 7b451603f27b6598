"""Where a checkpoint says how it was quantized."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loraplex_server.models.errors import CheckpointError, UnsupportedModelError

# Files of quantizers that did not write into config.json, and the method that each is about.
_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq", "hf_quant_config.json": "modelopt"}


@dataclass(frozen=True)
class Settings:
    """A quantization config, its values checked as they are asked for."""

    method: str  # as transformers names it, in lower case
    source: str  # where it was found, for messages
    values: Mapping[str, Any]

    def get(self, *names: str, default: Any = None) -> Any:
        """The first of several spellings that is there and not null."""
        return next((self.values[name] for name in names if self.values.get(name) is not None), default)

    def integer(self, *names: str, default: int | None = None) -> int:
        """A whole number.

        Raises:
            CheckpointError: it is missing or something else.
        """
        value = self.get(*names, default=default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise CheckpointError(f"{names[0]} in {self.source} must be a whole number, not {value!r}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false.

        Raises:
            CheckpointError: it is something else.
        """
        value = self.get(name, default=default)
        if not isinstance(value, bool):
            raise CheckpointError(f"{name} in {self.source} must be true or false, not {value!r}")
        return value

    def compiled(self, pattern: str) -> re.Pattern[str]:
        """A regular expression.

        Raises:
            CheckpointError: it is none.
        """
        try:
            return re.compile(pattern)
        except re.error as error:
            raise CheckpointError(f"{pattern!r} in {self.source} is no regular expression: {error}") from error

    def unsupported(self, what: str, instead: str) -> UnsupportedModelError:
        """The error for something that is not served."""
        return UnsupportedModelError(f"{what} ({self.source}) is not served; {instead}")


def find_settings(config: Mapping[str, Any], folder: Path) -> Settings | None:
    """In config.json, else in the file that an older quantizer wrote beside it; None: not quantized.

    Args:
        config: the parsed config.json.
        folder: of the checkpoint.

    Raises:
        CheckpointError: what is found is not a JSON object, or names no method.
    """
    for key in ("quantization_config", "compression_config"):
        if config.get(key):
            source = f"{key} of {folder / 'config.json'}"
            values = _object(config[key], source)
            if key == "compression_config" or "quantization_config" in values:
                # compressed-tensors before it had transformers' name, which kept the sparsity beside the rest.
                nested = _object(values.get("quantization_config") or values, source)
                sparsity = {"sparsity_config": values.get("sparsity_config")}
                values = {"quant_method": values.get("quant_method", "compressed-tensors")} | sparsity | nested
            return Settings(_method(values, source), source, values)
    for name, method in _FILES.items():
        path = folder / name
        if path.is_file():
            try:
                raw = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise CheckpointError(f"{path} is not JSON: {error}") from error
            values = _object(raw, str(path))
            return Settings(str(values.get("quant_method") or method).lower(), str(path), values)
    return None


def _object(value: Any, source: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CheckpointError(f"{source} is not a JSON object")
    return value


def _method(values: Mapping[str, Any], source: str) -> str:
    method = values.get("quant_method")
    if method is None and ("load_in_4bit" in values or "load_in_8bit" in values):
        return "bitsandbytes"  # which once saved no name
    if not isinstance(method, str):
        raise CheckpointError(f"{source} does not name its quant_method")
    return method.lower()
