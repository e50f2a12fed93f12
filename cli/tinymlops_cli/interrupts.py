"""Ctrl-C: an exit code of its own, and one JSON object with `--json`, as for every error."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["INTERRUPTED", "tell_interrupt", "wants_json"]

INTERRUPTED = 130
"""The exit code after SIGINT, as shells expect it."""


def wants_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON, even if it cannot be parsed."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def tell_interrupt(arguments: Sequence[str]) -> None:
    """Report on standard error that the command was interrupted."""
    told = "interrupted"
    if wants_json(arguments):
        told = f'{{"error":{{"class":"KeyboardInterrupt","message":"{told}","hint":"","exit_code":{INTERRUPTED}}}}}'
    print(told, file=sys.stderr, flush=True)
