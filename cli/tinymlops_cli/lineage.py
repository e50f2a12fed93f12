"""`lineage`: what is made of a column, a feature or a model, and what it is made of."""

import sys
from typing import Annotated

import typer

from tinymlops.errors import DefinitionError
from tinymlops_cli import completion
from tinymlops_cli.commands import command
from tinymlops_cli.output import Answer
from tinymlops_cli.session import Session

__all__ = ["add_to"]

_PLAIN = str.maketrans("│├└─", "|+`-")
"""How a tree is drawn in a pipe."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(lineage)


def lineage(
    session: Session,
    reference: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Such as orders, orders.amount, spending:last, delay@champion, or training_set:delay; none for everything.",
            autocompletion=completion.definitions,
        ),
    ] = None,
    *,
    downstream: Annotated[bool, typer.Option("--downstream", help="Only what is made of it.")] = False,
    upstream: Annotated[bool, typer.Option("--upstream", help="Only what it is made of.")] = False,
    dot: Annotated[bool, typer.Option("--dot", help="Print a graph for Graphviz.")] = False,
    openlineage: Annotated[bool, typer.Option("--openlineage", help="Print OpenLineage events as JSON lines.")] = False,
) -> Answer:
    """Show what is made of something and what it is made of, by column: `tinymlops lineage orders.amount --downstream`."""
    if dot and openlineage:
        raise DefinitionError("--dot and --openlineage were both said", hint="ask for one of them")
    found = session.workspace.lineage(reference, downstream=downstream, upstream=upstream)
    if dot or openlineage:
        return Answer(found.to_dict(), [found.to_dot() if dot else found.to_openlineage()])
    tree = str(found)
    return Answer(found.to_dict(), [tree if sys.stdout.isatty() else tree.translate(_PLAIN)])
