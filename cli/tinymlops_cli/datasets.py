"""`datasets`: features of a spine that are kept, read back and verified."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from tinymlops.errors import IntegrityError
from tinymlops_cli import completion
from tinymlops_cli.commands import command, group
from tinymlops_cli.failures import EXIT_CODES
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.rows import read_file, split_names
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.records import Dataset

__all__ = ["add_to"]

Reference = Annotated[
    str,
    typer.Argument(
        metavar="NAME_OR_ID",
        help="A dataset's name, for the newest, or its id.",
        autocompletion=completion.datasets,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    inner = group(app, "datasets", "Features of a spine that are kept.")
    command(inner)(save)
    command(inner, "list")(list_datasets)
    command(inner)(export)
    command(inner)(verify)
    command(inner)(remove)


def save(
    session: Session,
    name: Annotated[str, typer.Argument(help="Of the dataset.", autocompletion=completion.datasets)],
    names: Annotated[
        str,
        typer.Argument(
            metavar="FEATURES",
            help="Views, on-demand views, services or view:feature, joined by commas.",
            autocompletion=completion.features,
        ),
    ],
    *,
    input_file: Annotated[
        Path, typer.Option("--input", metavar="FILE", resolve_path=True, help="The spine: Parquet, CSV or JSON Lines.")
    ],
    timestamp: Annotated[str, typer.Option(metavar="COLUMN", help="The time column of the spine.")] = "timestamp",
    tz: Annotated[str | None, typer.Option(metavar="ZONE", help="Zone of times that carry none.")] = None,
    as_of: Annotated[
        int | None, typer.Option(metavar="Q", help="As if no row with a greater sequence had come yet.")
    ] = None,
) -> Answer:
    """Compute the features of a spine and keep both; a Parquet file may be larger than memory."""
    workspace, features = session.workspace, split_names(names)
    saved = workspace.save_dataset(
        name, _spine(session, input_file, features, timestamp, tz), features, timestamp=timestamp, tz=tz, as_of=as_of
    )
    (record,) = (one for one in workspace.datasets.list(name) if one.id == saved.id)
    return Answer(record, [repr(saved).strip("<>")])


def list_datasets(session: Session) -> Answer:
    """List datasets, the newest first."""
    found = session.workspace.datasets.list()
    return Answer(found, [Table.of([_row(one) for one in found]) if found else "no dataset is saved yet"])


def export(
    session: Session,
    dataset: Reference,
    *,
    output: Annotated[Path, typer.Option(metavar="FILE", resolve_path=True, help="A Parquet or CSV file to write.")],
) -> Answer:
    """Write a dataset to one file."""
    saved = session.workspace.datasets.get(dataset)
    saved.to_parquet(output)
    return Answer({"rows": saved.rows, "output": output}, [f"{saved.rows:,} rows in {output}"])


def verify(session: Session, dataset: Reference) -> Answer:
    """Compute the features of a dataset again: they must come out the same."""
    verified = session.workspace.datasets.verify(dataset)
    data = {**msgspec.structs.asdict(verified), "same": verified.same}
    return Answer(data, [repr(verified).strip("<>")], code=0 if verified.same else EXIT_CODES[IntegrityError])


def remove(session: Session, dataset: Reference) -> Answer:
    """Forget a dataset; gc removes its files once their grace is over."""
    removed = session.workspace.datasets.remove(dataset)
    return Answer(removed, [f"dataset {removed.name} {removed.id[:8]} is removed"])


def _row(one: "Dataset") -> dict[str, object]:
    return {
        "dataset": one.name,
        "id": one.id[:8],
        "rows": one.rows,
        "features": one.features,
        "bytes": one.bytes,
        "sequence": one.sequence,
        "saved": one.created_at,
    }


def _spine(session: Session, file: Path, features: list[str], timestamp: str, tz: str | None) -> Any:
    """Return the path of a Parquet file, which is read some rows at a time, and the rows of any other."""
    from tinymlops.frames import to_polars
    from tinymlops.table_files import written_as_text
    from tinymlops_cli.spines import with_times

    if file.suffix.lower() == ".parquet":
        return file
    text = {*written_as_text(session.workspace.key_types(features)), timestamp}
    return with_times(to_polars(read_file(file, text)), timestamp, tz)
