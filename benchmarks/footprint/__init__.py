"""Where a server's memory goes: what each of its processes has resident, phase by phase."""
