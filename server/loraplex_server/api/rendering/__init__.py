"""Text to tokens and back: tokenizers and chat templates, of the base and of adapters."""
