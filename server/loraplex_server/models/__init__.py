"""The base models: one native decoder (packed rows, paged KV cache), described by one small file a family."""
