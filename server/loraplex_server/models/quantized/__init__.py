"""Checkpoints that come quantized: their tensors, read into the forms that the kernels know.

docs/quantization.md says which formats are served, and how exactly.
"""
