"""Make commands of functions: the common options, one way to answer and one way to fail."""

from __future__ import annotations

import errno
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from tinymlops.errors import TinyMLOpsError, is_fault
from tinymlops_cli.failures import exit_code, ours, report, show_traceback, warnings_as_lines
from tinymlops_cli.interrupts import INTERRUPTED, tell_interrupt
from tinymlops_cli.output import Answer, show
from tinymlops_cli.session import Session, locate

__all__ = ["command", "group"]

P = ParamSpec("P")
Command = Callable[Concatenate[Session, P], Answer]

_COMMON = {
    "project_dir": Annotated[
        Path | None,
        typer.Option(
            "--project",
            metavar="DIR",
            resolve_path=True,
            help="The directory of tinymlops.toml; by default this one or the nearest above.",
        ),
    ],
    "workspace_path": Annotated[
        Path | None,
        typer.Option(
            "--workspace",
            metavar="PATH",
            resolve_path=True,
            help="The workspace; by default the one in tinymlops.toml.",
        ),
    ],
    "as_json": Annotated[bool, typer.Option("--json", help="Print one JSON document.")],
}


def group(app: typer.Typer, name: str, help: str) -> typer.Typer:  # noqa: A002 - typer's word
    """Add a command group."""
    inner = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help=help)
    app.add_typer(inner, name=name)
    return inner


def command(app: typer.Typer, name: str | None = None) -> Callable[[Command[P]], Command[P]]:
    """Make a command of a function that takes a session and its own options and returns an answer.

    The command also has `--json`, `--project` and `--workspace`; the function's docstring is its help.

    Args:
        app: The application to add it to.
        name: The command's name; by default the function's.
    """

    def register(function: Command[P]) -> Command[P]:
        @functools.wraps(function)
        def run(*, project_dir: Path | None, workspace_path: Path | None, as_json: bool, **options: Any) -> None:
            try:
                with warnings_as_lines(), Session(project_dir, workspace_path) as session:
                    answer = function(session, **options)  # type: ignore[call-arg]  # typer has checked them
                    show(answer, as_json=as_json)
            except KeyboardInterrupt as raised:
                tell_interrupt(["--json"] if as_json else [])
                raise typer.Exit(INTERRUPTED) from raised
            except BaseException as raised:
                if not is_fault(raised) or _is_of_a_reader(raised):
                    raise
                error = ours(raised, _root(project_dir, workspace_path))
                show_traceback(raised)
                report(error, as_json=as_json)
                raise typer.Exit(exit_code(error)) from raised
            raise typer.Exit(answer.code)

        _describe(run, function)
        app.command(name)(run)
        return function

    return register


def _is_of_a_reader(error: BaseException) -> bool:
    """Return whether a reader of our output went away; typer handles that."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _root(project: Path | None, workspace: Path | None) -> Path:
    """Return the project's directory; without a project, the current directory."""
    try:
        return locate(project, workspace)
    except TinyMLOpsError:
        return Path.cwd()


def _describe(run: Callable[..., None], function: Callable[..., Answer]) -> None:
    """Show typer the function's own parameters, without the session, and the common ones."""
    own = list(inspect.signature(function).parameters.values())[1:]
    common = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=False if name == "as_json" else None, annotation=annotation
        )
        for name, annotation in _COMMON.items()
    ]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + common
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
