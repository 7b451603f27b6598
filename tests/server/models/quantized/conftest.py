"""The small base of tests, and its quantized checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file
from support.checkpoints import LLAMA, write_base
from support.quantized_cases import CASES
from torch import Tensor
from transformers import LlamaConfig

from loraplex_kernels.linear.forms import WeightForm
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.quantized.choose import weight_reader
from loraplex_server.models.quantized.reader import WeightReader

# Rows of whole blocks: of others bitsandbytes' own kernels for AVX-512 make something else than what it quantized.
BASE = LlamaConfig(**LLAMA.to_diff_dict() | {"intermediate_size": 128, "num_hidden_layers": 2})
HIDDEN, WIDE, NARROW = BASE.hidden_size, BASE.intermediate_size, 32
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (NARROW, HIDDEN),
    "self_attn.v_proj": (NARROW, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (WIDE, HIDDEN),
    "mlp.up_proj": (WIDE, HIDDEN),
    "mlp.down_proj": (HIDDEN, WIDE),
}


@contextmanager
def opened(folder: Path) -> Iterator[WeightReader]:
    """The reader of a checkpoint."""
    config = json.loads((folder / "config.json").read_text())
    with Checkpoint(folder) as checkpoint:
        reader = weight_reader(config, checkpoint)
        assert reader is not None
        yield reader


def read(folder: Path, module: str = "mlp.down_proj", layer: int = 0) -> WeightForm:
    """One linear of a checkpoint."""
    with opened(folder) as reader:
        return reader.read(f"model.layers.{layer}.{module}", SHAPES[module])


@dataclass(frozen=True)
class Quantized:
    """A quantized checkpoint, and a floating-point one with the weights that its own library reads."""

    folder: Path
    meant: Path

    def weight(self, module: str, layer: int = 0) -> Tensor:
        """As it is meant, float32."""
        return load_file(self.meant / "model.safetensors")[f"model.layers.{layer}.{module}.weight"]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"), BASE)


@pytest.fixture(scope="session")
def write(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Quantized]:
    """A case by its name, written once; not to be changed."""
    written: dict[str, Quantized] = {}

    def get(name: str) -> Quantized:
        if name not in written:
            folder = tmp_path_factory.mktemp(name)
            written[name] = Quantized(folder, CASES[name](base, folder))
        return written[name]

    return get


@pytest.fixture(scope="session", params=CASES)
def quantized(request: pytest.FixtureRequest, write: Callable[[str], Quantized]) -> Quantized:
    return write(request.param)
