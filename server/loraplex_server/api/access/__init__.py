"""Who asks, and what they may: keys, limits, and what is shown to whom."""
