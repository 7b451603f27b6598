"""Quantized weights as they are stored: what a checkpoint holds or rounding gives, before any kernel packs it.

Each says by `dequantized` what it means; that is the reference of every kernel that reads it.
"""

from loraplex_kernels.linear.forms.fields import tensors, with_tensors
from loraplex_kernels.linear.forms.float8 import Float8
from loraplex_kernels.linear.forms.form import WeightForm
from loraplex_kernels.linear.forms.grouped_ints import GroupedInts
from loraplex_kernels.linear.forms.lookup import Lookup

__all__ = ["Float8", "GroupedInts", "Lookup", "WeightForm", "tensors", "with_tensors"]
