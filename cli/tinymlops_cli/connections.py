"""`connections`: the databases that sources read."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from tinymlops_cli import completion
from tinymlops_cli.commands import command, group
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.features.law.connections import CheckedConnection

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    inner = group(app, "connections", "Connections: the databases that sources read.")
    command(inner)(check)


def check(
    session: Session,
    name: Annotated[
        str | None,
        typer.Argument(help="A connection of tinymlops.toml; by default all.", autocompletion=completion.connections),
    ] = None,
) -> Answer:
    """Reach each database, and look for what sources read of it; exit with 1 if something is not there."""
    found = session.workspace.connections.check(name)
    lines = [line for one in found for line in _lines(one)]
    return Answer(found, lines or ["there are no connections"], code=int(any(not one.ok for one in found)))


def _lines(one: "CheckedConnection") -> Iterator[str | Table]:
    if one.error:
        yield f"{one.connection}: {one.error}"
        yield f"  Hint: {one.hint}"
        return
    yield f"{one.connection}: {one.server}, at {one.place}"
    for source in one.sources:
        yield f"  source {source.source}: {source.said if source.ok else f'FAILED: {source.said}'}"
    for note in one.notes:
        yield f"  note: {note}"
