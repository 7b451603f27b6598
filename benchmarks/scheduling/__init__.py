"""Scheduling policies compared on a clock of their own, whose steps take what steps were measured to take."""
