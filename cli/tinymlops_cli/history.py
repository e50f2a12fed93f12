"""`ingest`, `push` and `materialize`: rows into history, and from there into the online store."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tinymlops.times import from_micros
from tinymlops_cli import completion
from tinymlops_cli.commands import command
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.rows import rows_from
from tinymlops_cli.session import Session

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app)(ingest)
    command(app)(push)
    command(app)(materialize)


def ingest(
    session: Session,
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Which sources; none for all that are not pushed.", autocompletion=completion.sources),
    ] = None,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Read everything anew; record as deleted what is no longer there.")
    ] = False,
    complete_until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Your word that no row with an earlier event time is missing (ISO 8601)."),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Read the named sources anew, and date their stored rows by the definition they have now."
        ),
    ] = False,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Of a rebuild: leave out what the source does not have any more.")
    ] = False,
) -> Answer:
    """Take what is new at the sources into history; the same rows twice change nothing.

    A source that fails keeps no other from being ingested; the exit code is that of the class which all errors are of.
    """
    reports = session.workspace.ingest(
        *sources or [], full=full, complete_until=complete_until, rebuild=rebuild, drop_missing=drop_missing
    )
    rows = [
        {
            "source": report.source,
            "read": report.rows_read,
            "new": report.rows_new,
            "corrected": report.rows_corrected,
            "deleted": report.rows_deleted,
            "known": report.rows_known,
            "held back": report.rows_held_back,
            "quarantined": report.rows_quarantined,
            "never known": report.rows_never_known,
            "ahead": report.rows_ahead,
            **(
                {"carried": report.rows_carried, "restarted": report.rows_restarted, "dropped": report.rows_dropped}
                if rebuild
                else {}
            ),
            "seconds": report.seconds,
        }
        for report in reports
    ]
    return Answer(reports, [Table.of(rows) if rows else "there is no source to ingest: all of them take pushes"])


def push(
    session: Session,
    source: Annotated[str, typer.Argument(help="A source that takes pushes.", autocompletion=completion.sources)],
    rows: Annotated[list[str] | None, typer.Argument(help="JSON objects, or key=value pairs of one row.")] = None,
    *,
    input_file: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", resolve_path=True, help="Rows as JSON, JSON Lines, CSV or Parquet."),
    ] = None,
    batch_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Names the batch, so that sending it again changes nothing; made up, and shown, "
            "where the source has no id.",
        ),
    ] = None,
) -> Answer:
    """Add rows to a source, durable when the command returns."""
    given = rows_from(rows, input_file, _text(session, source))
    pushed = session.workspace.push(source, given, batch_id=batch_id)
    return Answer(pushed, [Table.of([msgspec.structs.asdict(pushed)])])


def _text(session: Session, source: str) -> set[str]:
    """Return the columns that are text in a CSV file, which has no types: all but numbers, so that "007" stays what it is."""
    numbers = ("Int", "UInt", "Float", "Boolean")
    found = [one for one in session.workspace.catalog.list("source") if one.name == source]
    columns = found[0].spec.get("columns", {}) if found else {}
    return {name for name, dtype in columns.items() if not dtype.startswith(numbers)}


def materialize(
    session: Session,
    views: Annotated[
        list[str] | None,
        typer.Argument(
            help="Which feature views, or versions such as spending@v1; none for all.", autocompletion=completion.views
        ),
    ] = None,
) -> Answer:
    """Bring feature views up to date in the online store."""
    rows = [
        {"view": covered.view, "keys": covered.keys, "sequence": covered.sequence, "at": from_micros(covered.at)}
        for covered in session.workspace.materialize(*(views or ()))
    ]
    return Answer(rows, [Table.of(rows) if rows else "there is no feature view to materialize"])
