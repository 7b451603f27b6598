"""Speculative decoding without a draft model: tokens copied from the text so far, checked by the model itself."""
