"""OpenTelemetry: a span for each request, and one for each part of its work; off, nothing of it is loaded."""
