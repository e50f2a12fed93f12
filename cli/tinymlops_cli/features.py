"""`features online` and `features historical`: the features that a model would get."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tinymlops_cli import completion
from tinymlops_cli.commands import command, group
from tinymlops_cli.output import Answer, head_of, write_frame
from tinymlops_cli.rows import is_table, rows_from, split_names
from tinymlops_cli.session import Session
from tinymlops_cli.spines import with_times

__all__ = ["add_to"]

Names = Annotated[
    str,
    typer.Argument(
        metavar="FEATURES",
        help="Views, on-demand views, services or view:feature, joined by commas.",
        autocompletion=completion.features,
    ),
]
RowArguments = Annotated[
    list[str] | None, typer.Argument(metavar="ROWS", help="JSON objects, or key=value pairs of one row.")
]
Input = Annotated[
    Path | None,
    typer.Option("--input", metavar="FILE", resolve_path=True, help="Rows as JSON, JSON Lines, CSV or Parquet."),
]
Details = Annotated[bool, typer.Option("--details", help="Add the status and the event time of each feature.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    inner = group(app, "features", "Features as of now, or as known at earlier times.")
    command(inner)(online)
    command(inner)(historical)


def online(
    session: Session, names: Names, rows: RowArguments = None, *, input_file: Input = None, details: Details = False
) -> Answer:
    """Read features as of now: `tinymlops features online sky,carrier_delays origin=EWR carrier=UA`."""
    features = split_names(names)
    keys = rows_from(rows, input_file, _text(session, features, input_file))
    found = session.workspace.get_online_features(features, keys, details=details)
    frame = found.to_polars()
    rebuilt = {
        view: {"sequence": sequence, "age_seconds": age.total_seconds()}
        for view, (sequence, age) in found.rebuilt.items()
    }
    data = {
        "timestamp": found.timestamp,
        "sequence": found.sequence,
        "rebuilt": rebuilt,
        "rows": frame.to_dicts(),
    }
    lines = [f"{view}: computed {age} before, Q={sequence}" for view, (sequence, age) in found.rebuilt.items()]
    return Answer(data, [f"as of {found.timestamp.isoformat()}, Q={found.sequence}", *lines, *head_of(frame)])


def historical(
    session: Session,
    names: Names,
    rows: RowArguments = None,
    *,
    input_file: Input = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", resolve_path=True, help="Write the rows to this Parquet or CSV file.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(metavar="TIME", help="Without rows: the first moment of a range of time (ISO 8601).")
    ] = None,
    end: Annotated[
        str | None, typer.Option(metavar="TIME", help="Without rows: the first moment that is not in the range.")
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Of a range: from one moment to the next; else where rows are."),
    ] = None,
    timestamp: Annotated[str, typer.Option(metavar="COLUMN", help="The time column of the rows.")] = "timestamp",
    tz: Annotated[str | None, typer.Option(metavar="ZONE", help="The zone of times without one.")] = None,
    details: Details = False,
    as_of: Annotated[
        int | None, typer.Option(metavar="Q", help="Use only rows with a sequence up to this one.")
    ] = None,
) -> Answer:
    """Add to each row the features as known at its time; with --start and --end, give those of a range of time."""
    from tinymlops.frames import to_polars

    features, spine = split_names(names), None
    if rows or input_file or (start, end, every) == (None, None, None):
        given = rows_from(rows, input_file, {*_text(session, features, input_file), timestamp})
        spine = with_times(to_polars(given), timestamp, tz)
    frame: Any = session.workspace.get_historical_features(
        spine,
        features,
        start=start,
        end=end,
        every=every,
        timestamp=timestamp,
        tz=tz,
        details=details,
        as_of=as_of,
    )
    if output is None:
        return Answer({"rows": frame.to_dicts()}, head_of(frame))
    write_frame(frame, output)
    return Answer({"rows": frame.height, "output": output}, [f"{frame.height:,} rows in {output}"])


def _text(session: Session, features: list[str], file: Path | None) -> set[str]:
    """Return the keys that are text in a CSV file, which has no types."""
    from tinymlops.table_files import written_as_text

    return written_as_text(session.workspace.key_types(features)) if file is not None and is_table(file) else set()
