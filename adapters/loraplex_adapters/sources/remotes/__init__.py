"""The kinds of remote places."""
