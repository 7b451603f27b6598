"""Calls of tools: how models write them, read as the text comes, and demanded of a model by a grammar."""
