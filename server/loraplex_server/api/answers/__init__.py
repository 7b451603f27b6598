"""From a request to its answers: prompts in, pieces of text out."""
