"""A base model, as far as its config and the headers of its files tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from loraplex_server.bench.limits.model import ModelShape
from loraplex_server.engine.config import DType
from loraplex_server.engine.dtype import Format, checkpoint_dtype, choose_dtype
from loraplex_server.models.blueprint import Blueprint, blueprint
from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.describe import describe, read_config
from loraplex_server.models.errors import ModelError
from loraplex_server.models.folder import model_folder
from loraplex_server.models.quantized.settings import find_settings
from loraplex_server.plan.error import PlanError
from loraplex_server.plan.headers import stored_bytes

_ITEMSIZES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class PlannedModel:
    """Nothing of its weights was read.

    Args:
        name: as it was asked for.
        folder: of its config and its tokenizer.
        config: of the whole model.
        checkpoint: number format of its floating-point weights.
        quantizer: who has quantized it, as transformers names the method; None: nobody.
        stored: bytes of each module's tensors in its files; None where nobody has quantized it.
        table_rows: tokens whose rows of the tables are here; 0: all.
    """

    name: str
    folder: Path
    config: DecoderConfig
    checkpoint: Format
    quantizer: str | None = None
    stored: Mapping[str, int] | None = None
    table_rows: int = 0

    @cached_property
    def blueprint(self) -> Blueprint:
        """Its linears and norms."""
        return blueprint(self.config)

    @property
    def shape(self) -> ModelShape:
        """As bounds are worked out from it."""
        config = self.config
        return ModelShape(
            name=self.name,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            layers=config.num_layers,
            heads=config.num_heads,
            kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            vocabulary=config.vocab_size,
        )

    def dtype(self, asked: DType, device: str) -> Format:
        """Of the activations, as the engine chooses it on a CPU that has bfloat16, or on a GPU."""
        return choose_dtype(asked, self.checkpoint, device, native=True)


def itemsize(dtype: str) -> int:
    """Bytes of a number in it."""
    return _ITEMSIZES[dtype]


def read_model(path_or_id: str, max_model_len: int | None) -> PlannedModel:
    """Read the config, and of a quantized checkpoint the headers of its files.

    Args:
        path_or_id: a folder, or a hub id.
        max_model_len: the longest sequence to serve; None for the model's own.

    Raises:
        PlanError: there is no such model, or it is none that is served.
    """
    try:
        folder = model_folder(path_or_id, weights=False)
        config, raw = describe(folder, max_model_len), read_config(folder)
        quantizer = find_settings(raw, folder)
    except (ModelError, ValueError) as error:
        raise PlanError(str(error)) from error
    checkpoint = checkpoint_dtype(raw)
    if quantizer is None:
        return PlannedModel(path_or_id, folder, config, checkpoint)
    return PlannedModel(path_or_id, folder, config, checkpoint, quantizer.method, stored_bytes(path_or_id, folder))
