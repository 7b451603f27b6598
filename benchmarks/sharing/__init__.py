"""Two tenants on one server: one that floods it, and one whose first tokens are timed."""
