"""Commands that talk to a running server, or look at files without one."""
