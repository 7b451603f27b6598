"""Every adapter that PEFT can write: exactly right, or refused with a reason."""
