"""Measuring: load on a server or on an engine, and what the machine allows."""
