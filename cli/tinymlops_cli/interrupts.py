"""Ctrl-C: an exit code of its own, and the one JSON object that every error is with `--json`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["INTERRUPTED", "tell_interrupt", "wants_json"]

INTERRUPTED = 130
"""What shells take for an end by SIGINT."""


def wants_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks for JSON, before or without its being understood."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def tell_interrupt(arguments: Sequence[str]) -> None:
    """Report on standard error that the command was interrupted."""
    told = "interrupted"
    if wants_json(arguments):
        told = f'{{"error":{{"class":"KeyboardInterrupt","message":"{told}","hint":"","exit_code":{INTERRUPTED}}}}}'
    print(told, file=sys.stderr, flush=True)
