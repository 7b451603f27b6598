"""`quant_method: bitsandbytes`: two formats under one name."""

from __future__ import annotations

from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.quantized.bnb_four import FourBitReader
from loraplex_server.models.quantized.bnb_int8 import Int8Reader
from loraplex_server.models.quantized.reader import WeightReader
from loraplex_server.models.quantized.settings import Settings


def bitsandbytes_reader(settings: Settings, checkpoint: Checkpoint) -> WeightReader:
    """The reader of NF4 and FP4, or that of LLM.int8().

    Raises:
        UnsupportedModelError: the config asks for neither.
        CheckpointError: the config is damaged.
    """
    four, eight = settings.flag("load_in_4bit", False), settings.flag("load_in_8bit", False)
    if four == eight:
        raise settings.unsupported("bitsandbytes with neither or both of load_in_4bit and load_in_8bit", "set one")
    return FourBitReader(settings, checkpoint) if four else Int8Reader(settings, checkpoint)
