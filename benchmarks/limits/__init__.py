"""What a machine allows: its measured rates, and the time that a step of a model cannot go below on it."""
