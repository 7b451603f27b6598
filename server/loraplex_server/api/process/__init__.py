"""The server as a process: start, work beside requests, end."""
