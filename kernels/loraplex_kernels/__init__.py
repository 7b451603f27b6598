"""Tensors in, tensors out: LoRA, attention and quantized linears. Knows no request, no adapter name, no HTTP."""
