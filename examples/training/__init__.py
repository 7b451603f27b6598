"""How the bundled demo was made: a small Llama, and LoRA adapters that PEFT trained on it."""
