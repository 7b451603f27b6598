"""What a server would take of memory, and how fast it could be at best, from a model's config alone. Needs no torch."""
