"""Benchmarks that start the server themselves: its process, the machine under it, and modes of load compared."""
