"""Whole numbers on the command line."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """From 1 up; for argparse's `type`."""
    return _from(1, text)


def not_negative(text: str) -> int:
    """From 0 up; for argparse's `type`."""
    return _from(0, text)


def _from(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"a whole number from {least}, got {text!r}")
    return int(text)
