"""The base models: one native decoder (packed rows, paged KV cache), described by one small file a family."""

from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.errors import CheckpointError, ModelError, UnsupportedModelError
from loraplex_server.models.load import load_model

__all__ = ["CheckpointError", "Decoder", "DecoderConfig", "ModelError", "UnsupportedModelError", "load_model"]
