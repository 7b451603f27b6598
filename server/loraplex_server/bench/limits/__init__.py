"""What a machine allows: its rates, and the bounds that follow for a model."""
