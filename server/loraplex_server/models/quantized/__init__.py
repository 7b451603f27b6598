"""Checkpoints that come quantized: their tensors, read into the forms that the kernels know.

docs/quantization.md says which formats are served, and how exactly.
"""

from loraplex_server.models.quantized.choose import weight_reader
from loraplex_server.models.quantized.reader import WeightReader

__all__ = ["WeightReader", "weight_reader"]
