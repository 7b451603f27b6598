"""The base model's linears: one interface over the forms that their weights are stored in."""

from loraplex_kernels.linear.format import BaseWeight, RowWeight, dequantized_part
from loraplex_kernels.linear.quantize import Quantization, make_weight

__all__ = ["BaseWeight", "Quantization", "RowWeight", "dequantized_part", "make_weight"]
