"""The `tinymlops` command: one function for each verb of the workspace."""

import sys
from typing import Annotated

import typer

import tinymlops
from tinymlops_cli import (
    audit,
    bench,
    catalog,
    checks,
    client,
    connections,
    datasets,
    definitions,
    differences,
    docs,
    doctor,
    exporting,
    features,
    history,
    importing,
    jobs,
    keeping,
    lineage,
    querying,
    serving,
    sharing,
    sinks,
    starting,
    tokens,
    tracking,
    vectors,
)
from tinymlops_cli.failures import EXIT_CODES, UsageError, report
from tinymlops_cli.interrupts import wants_json

__all__ = ["app", "run"]

_CODES = "\n".join(f"  {code:>3}  {cls.__name__}" for cls, code in EXIT_CODES.items())
_EPILOG = f"""\b
Exit codes: 0 when all went well, 130 when interrupted, and for each class of error
{_CODES}

With --json, standard output is one JSON document. An error is one JSON object, the last line of standard error; lines
before it that begin with "warning: " are warnings. With TYPER_STANDARD_TRACEBACK=1 in the environment a traceback is
printed before the error.
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


COMMANDS = (
    starting,
    importing,
    definitions,
    catalog,
    differences,
    history,
    connections,
    checks,
    features,
    vectors,
    datasets,
    tracking,
    sharing,
    serving,
    sinks,
    jobs,
    exporting,
    tokens,
    client,
    querying,
    lineage,
    docs,
    audit,
    keeping,
    doctor,
    bench,
)
"""The modules that add the commands, in the order of the help."""

for module in COMMANDS:
    module.add_to(app)


def run() -> None:
    """Run the command line; with `--json`, errors in the command line itself are one JSON object too."""
    if not wants_json(sys.argv[1:]):
        app()
    try:
        sys.exit(app(standalone_mode=False))
    except Exception as error:
        message = getattr(error, "format_message", None)  # only for typer's own errors
        if message is None:
            raise
        report(UsageError(message(), hint="see tinymlops --help"), as_json=True)
        sys.exit(EXIT_CODES[UsageError])
