"""Which format a checkpoint is in, and who reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.errors import UnsupportedModelError
from loraplex_server.models.quantized.awq import AwqReader
from loraplex_server.models.quantized.bitsandbytes import bitsandbytes_reader
from loraplex_server.models.quantized.compressed_tensors import CompressedTensorsReader
from loraplex_server.models.quantized.fbgemm import FbgemmReader
from loraplex_server.models.quantized.fp8 import Fp8Reader
from loraplex_server.models.quantized.gptq import GptqReader
from loraplex_server.models.quantized.reader import WeightReader
from loraplex_server.models.quantized.refused import advice
from loraplex_server.models.quantized.settings import Settings, find_settings

_READERS: dict[str, Callable[[Settings, Checkpoint], WeightReader]] = {
    "gptq": GptqReader,
    "awq": AwqReader,
    "compressed-tensors": CompressedTensorsReader,
    "bitsandbytes": bitsandbytes_reader,
    "fp8": Fp8Reader,
    "fbgemm_fp8": FbgemmReader,
}


def weight_reader(config: Mapping[str, Any], checkpoint: Checkpoint) -> WeightReader | None:
    """Find out whether and how a checkpoint was quantized.

    Args:
        config: the parsed config.json; where it says nothing, quantize_config.json and its like are looked for.
        checkpoint: open, as long as the reader is used.

    Returns:
        The reader of its format; None: the checkpoint is not quantized.

    Raises:
        UnsupportedModelError: the method, or something that the config asks of it, is not served.
        CheckpointError: the config is damaged.
    """
    settings = find_settings(config, checkpoint.folder)
    if settings is None:
        return None
    make = _READERS.get(settings.method)
    if make is None:
        raise UnsupportedModelError(
            f"quantization method {settings.method} ({settings.source}) is not served; {advice(settings.method)}; "
            f"served: {', '.join(sorted(_READERS))}"
        )
    return make(settings, checkpoint)
