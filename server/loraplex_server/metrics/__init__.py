"""Prometheus metrics, under vLLM's names where vLLM has one."""

from loraplex_server.metrics.registry import Metrics

__all__ = ["Metrics"]
