"""`sql`: one SELECT over everything in the workspace."""

from pathlib import Path
from typing import Annotated

import typer

from tinymlops_cli.commands import command
from tinymlops_cli.output import Answer, head_of, write_frame
from tinymlops_cli.session import Session

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(sql)


def sql(
    session: Session,
    query: Annotated[str, typer.Argument(metavar="SELECT", help="Such as: select * from orders limit 5")],
    *,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", resolve_path=True, help="Write the rows to this Parquet or CSV file.")
    ] = None,
) -> Answer:
    """Query sources, <source>_history, feature views, runs, models, audit and more in SQL: `show tables` lists them."""
    frame = session.workspace.sql(query)
    if output is None:
        return Answer({"rows": frame.to_dicts()}, head_of(frame))
    write_frame(frame, output)
    return Answer({"rows": frame.height, "output": output}, [f"{frame.height:,} rows in {output}"])
