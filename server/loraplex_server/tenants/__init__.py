"""Who uses the server: keys, what each of them may see and use, its limits, and what was used. Knows no HTTP."""
