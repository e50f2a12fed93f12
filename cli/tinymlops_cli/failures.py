"""Errors in a shell: two lines on standard error, and an exit code for each class; a warning is one line."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import typer

from tinymlops import errors
from tinymlops.errors import IngestError, TinyMLOpsError
from tinymlops.printable import printable, printable_json
from tinymlops.secrets import without_secrets
from tinymlops_cli.output import Table, show_table

__all__ = ["EXIT_CODES", "UsageError", "exit_code", "ours", "report", "show_traceback", "warnings_as_lines"]

_TRACEBACK = "TYPER_STANDARD_TRACEBACK"
"""The environment variable that makes a Typer program print tracebacks."""


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
    errors.UnavailableError: 12,
}
"""The table; `tinymlops --help` prints it. 0 is success, and 130 an interrupt."""


def exit_code(error: TinyMLOpsError) -> int:
    """Return the exit code of the nearest class in the table; for several errors, of their common class."""
    cls = error.common_class() if isinstance(error, IngestError) else type(error)
    return next(EXIT_CODES[base] for base in cls.__mro__ if base in EXIT_CODES)


def ours(error: BaseException, root: Path) -> TinyMLOpsError:
    """Turn what the system, the user's code or another library raised into an error of ours, in plain words.

    Args:
        error: Any exception.
        root: The project's directory: the message names the line of its code.
    """
    if isinstance(error, TinyMLOpsError):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        return TinyMLOpsError(f"{error.filename}: {error.strerror}")
    from tinymlops.features.definitions.code import told

    return TinyMLOpsError(told(error, root), hint=f"{_TRACEBACK}=1 shows where it comes from")


def show_traceback(error: BaseException) -> None:
    """Print the traceback of an error, if the environment asks for it."""
    if os.environ.get(_TRACEBACK):
        typer.echo(printable(without_secrets("".join(traceback.format_exception(error)))), err=True)


def report(error: TinyMLOpsError, *, as_json: bool) -> None:
    """Print an error on standard error.

    Args:
        error: The error.
        as_json: Print one JSON object, `{"error": {"class", "message", "hint", "exit_code"}}`; if several sources
            could not be ingested, with `errors`, each with its `source`, and the `reports` of the others.
    """
    if as_json:
        content = {**_content(error), "exit_code": exit_code(error)}
        if isinstance(error, IngestError):
            content["errors"] = [{"source": name, **_content(one)} for name, one in error.errors.items()]
            content["reports"] = error.reports
        typer.echo(printable_json(msgspec.json.encode({"error": content}, enc_hook=str).decode()), err=True)
        return
    if isinstance(error, IngestError):
        show_table(_by_source(error), err=True)
    typer.echo(printable(without_secrets(f"error: {error.message}")), err=True)
    if error.hint:
        typer.echo(printable(f"hint: {error.hint}"), err=True)
    if isinstance(error, IngestError):
        for name, one in error.errors.items():
            if one.hint:
                typer.echo(printable(f"hint: {name}: {one.hint}"), err=True)


def _content(error: TinyMLOpsError) -> dict[str, Any]:
    return {"class": type(error).__name__, "message": without_secrets(error.message), "hint": error.hint}


def _by_source(error: IngestError) -> Table:
    done = [(report.source, report.rows_read, report.rows_new, "") for report in error.reports]
    failed = [(name, None, None, without_secrets(one.message)) for name, one in error.errors.items()]
    return Table(["source", "read", "new", "error"], [*done, *failed])


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print warnings on standard error as plain lines, without their place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = _print_warning
        yield


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    typer.echo(printable(without_secrets(f"warning: {' '.join(str(message).splitlines())}")), err=True)
