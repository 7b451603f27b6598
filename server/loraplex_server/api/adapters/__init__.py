"""Adapters as requests and administrators name them."""
