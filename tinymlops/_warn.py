"""Warnings that point at the user's own line, not at ours."""

from __future__ import annotations

import sys
import warnings

from tinymlops.printable import printable

__all__ = ["warn"]


def warn(text: str) -> None:
    """Warn; the warning shows the line of the user's code that called this package."""
    level, frame = 1, sys._getframe()  # noqa: SLF001 - what the standard library's own warnings do
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "tinymlops":
        level, frame = level + 1, frame.f_back
    warnings.warn(printable(text), stacklevel=level)
