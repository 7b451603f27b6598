"""How each API writes its answers."""
