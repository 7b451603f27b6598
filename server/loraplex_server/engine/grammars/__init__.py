"""Answers that follow a grammar: which tokens may come next, found beside the steps. llguidance does the work."""
