"""Logs of both processes: one JSON object a line, or text for people; without secrets, and without forged lines."""
