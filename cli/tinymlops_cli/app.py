"""The `tinymlops` command: one function for each verb of the workspace."""

import sys
from typing import Annotated

import typer

import tinymlops
from tinymlops_cli import (
    bench,
    datasets,
    definitions,
    doctor,
    features,
    history,
    importing,
    keeping,
    querying,
    serving,
    starting,
    tracking,
)
from tinymlops_cli.failures import EXIT_CODES, UsageError, report
from tinymlops_cli.interrupts import wants_json

__all__ = ["app", "run"]

_CODES = "\n".join(f"  {code:>3}  {cls.__name__}" for cls, code in EXIT_CODES.items())
_EPILOG = f"""\b
Exit codes: 0 when all went well, 130 when interrupted, and for each class of error
{_CODES}

With --json, standard output is one JSON document and an error is one JSON object on standard error, the last line of it:
warnings are lines before it that begin with "warning: ". With TYPER_STANDARD_TRACEBACK=1 in the environment an error is
told after its traceback.
"""


app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, pretty_exceptions_enable=False, epilog=_EPILOG)


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer's call
    if asked:
        typer.echo(f"tinymlops {tinymlops.__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """The whole machine-learning workflow of a small team in one process on one machine."""


_GROUPS = (starting, importing, definitions, history, features, datasets, tracking, serving, querying, keeping)

for module in (*_GROUPS, doctor, bench):
    module.add_to(app)


def run() -> None:
    """Run the command line; with `--json` also what is wrong with the line itself is told as one object."""
    if not wants_json(sys.argv[1:]):
        app()
    try:
        sys.exit(app(standalone_mode=False))
    except Exception as error:
        message = getattr(error, "format_message", None)  # of typer's own errors alone
        if message is None:
            raise
        report(UsageError(message(), hint="see tinymlops --help"), as_json=True)
        sys.exit(EXIT_CODES[UsageError])
