"""Checkpoints and adapters of real shapes with random contents: what speed and memory depend on, without a download."""
