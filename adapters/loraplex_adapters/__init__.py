"""What an adapter is, where it comes from, and where it lives now."""
