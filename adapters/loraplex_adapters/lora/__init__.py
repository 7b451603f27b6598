"""LoRA as PEFT has it: low-rank updates of linears, and all that may come with them."""
