"""Batch work: lines of requests to lines of answers, in OpenAI's format."""
