"""`ingest`, `push` and `materialize`: store rows in history, and from there in the online store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tinymlops.times import from_micros
from tinymlops_cli import completion
from tinymlops_cli.commands import command
from tinymlops_cli.failures import UsageError
from tinymlops_cli.following import BadLines, follow_lines
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.rows import rows_from
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.records import Ingestion

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
        typer.Argument(help="The sources; by default all that are not pushed.", autocompletion=completion.sources),
    ] = None,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Read everything again; record as deleted what is no longer there.")
    ] = False,
    complete_until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Declare that no row with an earlier event time is missing (ISO 8601)."),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Read the named sources again, and date their stored rows by the definition they have now.",
        ),
    ] = False,
    drop_missing: Annotated[
        bool,
        typer.Option("--drop-missing", help="With --rebuild: leave out events that the source does not have any more."),
    ] = False,
    follow: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Push JSON lines into the one source named, as they are appended to a file, or to standard input (-).",
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="With --follow: take what is there and return, without waiting for more.")
    ] = False,
    bad_lines: Annotated[
        BadLines, typer.Option(help="With --follow: stop at a line that is no row of the source, or leave it out.")
    ] = BadLines.STOP,
) -> Answer:
    """Store the new rows of sources in history; ingesting the same rows again changes nothing.

    A source that fails does not stop the others; the exit code is that of the common class of all errors. With --follow it
    goes on until Ctrl+C or SIGTERM, stores what it has read by then, and exits with 0.
    """
    if follow is not None:
        if len(sources or ()) != 1 or full or rebuild or drop_missing or complete_until is not None:
            raise UsageError(
                "--follow goes with one source, --once and --bad-lines",
                hint="tinymlops ingest clicks --follow clicks.jsonl",
            )
        return follow_lines(session, (sources or [""])[0], follow, once=once, bad_lines=bad_lines.value)
    if once or bad_lines is not BadLines.STOP:
        raise UsageError("--once and --bad-lines go with --follow", hint="add --follow FILE")
    reports = session.workspace.ingest(
        *sources or [], full=full, complete_until=complete_until, rebuild=rebuild, drop_missing=drop_missing
    )
    rows = [_shown(report, rebuilt=rebuild) for report in reports]
    return Answer(reports, [Table.of(rows) if rows else "there is no source to ingest: all of them take pushes"])


def _shown(report: "Ingestion", *, rebuilt: bool) -> dict[str, object]:
    """Return what a table shows of the ingest of one source."""
    kept = {"carried": report.rows_carried, "restarted": report.rows_restarted, "dropped": report.rows_dropped}
    return {
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
        **(kept if rebuilt else {}),
        "seconds": report.seconds,
    }


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
            help="The id of the batch: sending it again changes nothing. Generated and shown if the source has no id.",
        ),
    ] = None,
) -> Answer:
    """Add rows to a source, durable when the command returns."""
    given = rows_from(rows, input_file, _text(session, source))
    pushed = session.workspace.push(source, given, batch_id=batch_id)
    return Answer(pushed, [Table.of([msgspec.structs.asdict(pushed)])])


def _text(session: Session, source: str) -> set[str]:
    """Return the columns that are text in a CSV file, which has no types: all except numbers, so that "007" is kept."""
    numbers = ("Int", "UInt", "Float", "Boolean")
    found = [one for one in session.workspace.catalog.list("source") if one.name == source]
    columns = found[0].spec.get("columns", {}) if found else {}
    return {name for name, dtype in columns.items() if not dtype.startswith(numbers)}


def materialize(
    session: Session,
    views: Annotated[
        list[str] | None,
        typer.Argument(
            help="The feature views, or versions such as spending@v1; by default all.",
            autocompletion=completion.views,
        ),
    ] = None,
) -> Answer:
    """Bring feature views up to date in the online store."""
    rows = [
        {"view": covered.view, "keys": covered.keys, "sequence": covered.sequence, "at": from_micros(covered.at)}
        for covered in session.workspace.materialize(*(views or ()))
    ]
    return Answer(rows, [Table.of(rows) if rows else "there is no feature view to materialize"])
