"""Decode steps as CUDA graphs: one launch instead of hundreds, adapters included."""
