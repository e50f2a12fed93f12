"""`share`: a run, a model or a build of a training set as one page for people who have no workspace."""

from pathlib import Path
from typing import Annotated

import typer

from tinymlops_cli import completion
from tinymlops_cli.commands import command
from tinymlops_cli.output import Answer
from tinymlops_cli.session import Session

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(share)


def share(
    session: Session,
    reference: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="A model such as delay@champion, a build or a training set, or a run; run:delay where a name means several.",
            autocompletion=completion.shareable,
        ),
    ],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.html", resolve_path=True, help="The file to write; one that is there is replaced."
        ),
    ],
    *,
    rows: Annotated[
        bool, typer.Option("--rows", help="Put in values of rows as well; without it there are none in the file.")
    ] = False,
) -> Answer:
    """Write a run, a model or a build of a training set as one page, which loads nothing, runs nothing, and holds no rows."""
    shared = session.workspace.share(reference, file, rows=rows)
    return Answer(shared, [str(shared)])
