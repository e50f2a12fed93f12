"""Errors as a shell sees them: two lines on standard error, and an exit code for each class; warnings as one line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import typer

from tinymlops import errors
from tinymlops.errors import TinyMLOpsError

__all__ = ["EXIT_CODES", "UsageError", "exit_code", "report", "warnings_as_lines"]


class UsageError(TinyMLOpsError):
    """Options or arguments that do not fit together."""


EXIT_CODES: dict[type[TinyMLOpsError], int] = {
    TinyMLOpsError: 1,
    UsageError: 2,
    errors.DefinitionError: 3,
    errors.NotFoundError: 4,
    errors.ConflictError: 5,
    errors.DataError: 6,
    errors.LeakageError: 7,
    errors.IntegrityError: 8,
    errors.UntrustedModelError: 9,
    errors.MissingDependencyError: 10,
    errors.AccessError: 11,
}
"""The table; `tinymlops --help` prints it. 0 is success, and a shell makes 130 of an interrupt."""


def exit_code(error: TinyMLOpsError) -> int:
    """Return the exit code of the nearest class in the table."""
    return next(EXIT_CODES[cls] for cls in type(error).__mro__ if cls in EXIT_CODES)


def report(error: TinyMLOpsError, *, as_json: bool) -> None:
    """Print an error on standard error.

    Args:
        error: What was raised.
        as_json: As one JSON object, `{"error": {"class", "message", "hint", "exit_code"}}`.
    """
    if as_json:
        content = {
            "class": type(error).__name__,
            "message": error.message,
            "hint": error.hint,
            "exit_code": exit_code(error),
        }
        typer.echo(msgspec.json.encode({"error": content}).decode(), err=True)
        return
    typer.echo(f"error: {error.message}", err=True)
    if error.hint:
        typer.echo(f"hint: {error.hint}", err=True)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print warnings on standard error as plain lines, without the place in the code that they come from."""
    with warnings.catch_warnings():
        warnings.showwarning = _print_warning
        yield


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    typer.echo(f"warning: {message}", err=True)
