"""`search`, `health` and `docs`: what the workspace says of itself in words."""

from pathlib import Path
from typing import Annotated

import typer

from tinymlops_cli import completion
from tinymlops_cli.commands import command, group
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app)(search)
    command(app)(health)
    docs = group(app, "docs", "Documentation from code.")
    command(docs, "show")(show_page)
    command(docs, "build")(build)
    command(docs, "check")(check)


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


def health(session: Session) -> Answer:
    """Say which definitions stand on sources that are late or failed, and which were unused for 90 days."""
    report = session.workspace.health()
    return Answer(report, [str(report)])


def show_page(
    session: Session,
    name: Annotated[str, typer.Argument(help="Of a definition or a term.", autocompletion=completion.definitions)],
) -> Answer:
    """Show the page of a definition: docstring, owner, types, statistics, readers, versions."""
    page = session.workspace.docs(name)
    return Answer(page, [str(page)])


def build(
    session: Session,
    directory: Annotated[Path, typer.Argument(metavar="DIR", resolve_path=True, help="Made if need be.")],
) -> Answer:
    """Write a Markdown page for every definition, and an index."""
    files = session.workspace.build_docs(directory)
    return Answer({"files": files}, [f"{len(files):,} pages in {directory}"])


def check(
    session: Session,
    *,
    least: Annotated[
        float,
        typer.Option("--min", min=0.0, max=1.0, help="The share that must be documented; else the exit code is 1."),
    ] = 0.9,
) -> Answer:
    """Say which definitions and features lack a docstring, an owner, or a unit of a number."""
    found = session.workspace.check_docs()
    data = {"checked": found.checked, "share": found.share, "least": least, "lacking": found.lacking}
    return Answer(data, [str(found)], code=int(found.share < least))
