"""`search`: definitions, terms, models, runs, builds and notes, found by words."""

from typing import Annotated

import typer

from tinymlops_cli.commands import command
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(search)


def search(
    session: Session,
    words: Annotated[list[str], typer.Argument(help='Words in any order, such as "late arrivals".')],
    *,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="At most so many.")] = 20,
) -> Answer:
    """Find definitions, terms, columns, models, runs, builds and notes by words, also by misspelled ones."""
    result = session.workspace.search(" ".join(words), limit=limit)
    table = Table(["found", "words"], [(str(one), one.excerpt) for one in result])
    return Answer(result, [*result.corrections, table if result.found else "nothing found"])
