"""The multi-LoRA server: engine, native models, HTTP API and command line."""

__version__ = "0.1.0"
