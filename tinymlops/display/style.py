"""The style sheet that pages and files which stand alone have in common."""

from functools import cache
from pathlib import Path

__all__ = ["style"]


@cache
def style() -> str:
    """Return the sheet."""
    return Path(__file__).with_name("style.css").read_text(encoding="utf-8")
