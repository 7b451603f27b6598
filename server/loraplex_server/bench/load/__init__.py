"""Load on an OpenAI-compatible server: what is asked of it and when, and what its answers' timing says."""
