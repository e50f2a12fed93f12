"""`sinks`: rows that are written to databases of others."""

from typing import Annotated

import typer

from tinymlops_cli import completion
from tinymlops_cli.commands import command, group
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    inner = group(app, "sinks", "Sinks: predictions, outcomes and features on their way to other databases.")
    command(inner, "list")(list_sinks)
    command(inner)(run)


def list_sinks(session: Session) -> Answer:
    """List the sinks, and how far each is."""
    found = session.workspace.sinks.status()
    rows = [[one.sink, one.writes, one.target, str(one.rows), one.waits, one.error] for one in found]
    table = Table(["sink", "writes", "to", "rows", "waiting", "last failure"], rows)
    return Answer(found, [table] if rows else ["there are no sinks"])


def run(
    session: Session,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="By default all.", autocompletion=completion.sinks),
    ] = None,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Compare every row with the table: finds what others changed there.")
    ] = False,
) -> Answer:
    """Write to each table what it lacks, and delete what the workspace does not have any more."""
    found = session.workspace.sinks.run(*names or (), full=full)
    lines = [
        f"{one.sink} to {one.target}: {one.written:,} rows written, {one.deleted:,} deleted, {one.rows:,} there now"
        for one in found
    ]
    return Answer(found, lines or ["there are no sinks"])
