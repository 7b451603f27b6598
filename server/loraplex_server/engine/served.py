"""A model, or one rank's part of it, with all that says how it computes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from loraplex_kernels.attention.cache import bytes_per_block
from loraplex_kernels.group import Group
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.device import resolve_dtype, room_for
from loraplex_server.engine.dtype import checkpoint_dtype
from loraplex_server.engine.measure import measure_steps
from loraplex_server.engine.memory import kv_cache_dtype
from loraplex_server.engine.rehearsal import StepSizes
from loraplex_server.engine.shares import step_tokens
from loraplex_server.engine.speculation.settings import most_rows
from loraplex_server.engine.step_needs import StepNeeds
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.describe import read_config
from loraplex_server.models.folder import model_folder
from loraplex_server.models.load import load_model


@dataclass(frozen=True)
class Served:
    """Args: config: of the engine. model: loaded. device: its. dtype: of activations. stored: of keys and values."""

    config: EngineConfig
    model: Decoder
    device: torch.device
    dtype: torch.dtype
    stored: torch.dtype

    @property
    def int8(self) -> bool:
        """Adapters are rounded."""
        return self.config.adapter_dtype == "int8"

    @property
    def block_bytes(self) -> int:
        """Of one block of the KV cache, over all layers."""
        shape = self.model.config
        return bytes_per_block(
            shape.num_layers, shape.num_kv_heads, self.config.block_size, shape.head_dim, self.stored
        )

    def sizes(self, longest: int) -> StepSizes:
        """Of the largest step. Args: longest: tokens of a sequence."""
        config = self.config
        tokens = step_tokens(self.device.type, config.max_num_batched_tokens, config.max_num_seqs)
        return StepSizes(tokens, most_rows(config), longest, config.block_size)

    def needs(self) -> StepNeeds:
        """What steps take beside weights and caches, found out by computing the largest.

        Raises:
            EngineStartError: there is no room for them.
        """
        with room_for("the largest step beside the weights", "lower --max-num-batched-tokens or --max-num-seqs"):
            return measure_steps(
                self.model,
                self.sizes(self.model.config.max_model_len),
                self.device,
                dtype=self.dtype,
                stored=self.stored,
                int8=self.int8,
                graphs=self.config.graphs,
            )


def load_served(config: EngineConfig, device: torch.device, group: Group) -> Served:
    """Load the model, or this rank's part of it.

    Args:
        config: of the engine.
        device: this rank's.
        group: all ranks.

    Raises:
        EngineStartError: a setting does not fit the machine.
        ModelError: the model is not supported, or its files are wrong.
        ValueError: a setting is out of the model's range.
    """
    checkpoint = checkpoint_dtype(read_config(model_folder(config.model, weights=False)))
    dtype = resolve_dtype(config.dtype, checkpoint, device)
    stored = kv_cache_dtype(config, dtype, device)
    with room_for("the model's weights", "use a smaller --quantization, or a larger GPU"):
        model = load_model(
            config.model,
            device=device,
            dtype=dtype,
            quantization=config.quantization,
            head_quantization=config.head_quantization,
            max_model_len=config.max_model_len,
            quantization_cache=None if config.quantization_cache is None else Path(config.quantization_cache),
            group=group,
        )
    return Served(config, model, device, dtype, stored)
