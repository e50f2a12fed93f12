"""`import`: a project made of a Feast repository, and the runs of other tools; a line says what became of each thing."""

from pathlib import Path
from typing import Annotated

import typer

from tinymlops.config import FILE_NAME
from tinymlops.errors import ConflictError, DataError
from tinymlops_cli.carrying import imported
from tinymlops_cli.commands import command, group
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

__all__ = ["add_to"]

_FEATURES = "features.py"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    inner = group(app, "import", "A project made of another tool's, and its runs.")
    command(inner)(feast)
    command(inner)(mlflow)
    command(inner)(neptune)
    command(inner)(tensorboard)


def feast(
    session: Session,  # noqa: ARG001 - there is no project yet
    repository: Annotated[
        Path, typer.Argument(metavar="REPO", resolve_path=True, exists=True, help="The Feast repository.")
    ],
    *,
    output: Annotated[
        Path, typer.Option(metavar="DIR", resolve_path=True, help="Where to write; made if need be.")
    ] = Path(),
) -> Answer:
    """Write features.py and tinymlops.toml from a Feast repository; its files are read and never run."""
    from tinymlops_cli.feast_reading import read_repository
    from tinymlops_cli.feast_writing import write_project

    there = [name for name in (_FEATURES, FILE_NAME) if (output / name).exists()]
    if there:
        raise ConflictError(
            f"{output} already holds {', '.join(there)}, and nothing is overwritten", hint="name another: --output DIR"
        )
    written = write_project(read_repository(repository), output)
    _write(output, {_FEATURES: written.features, FILE_NAME: written.settings})
    lines = [line._asdict() for line in written.lines]
    following = ["tinymlops init", "tinymlops apply", "tinymlops ingest"]
    view: list[str | Table] = [Table.of(lines) if lines else "the repository defines nothing", ""]
    view += [f"wrote {output / name}" for name in (_FEATURES, FILE_NAME)]
    view += ["", "next:", *(f"  {line}" for line in following)]
    return Answer({"directory": output, "files": [_FEATURES, FILE_NAME], "lines": lines, "next": following}, view)


def mlflow(
    session: Session,
    source: Annotated[
        str,
        typer.Argument(
            metavar="PATH_OR_URI", help="mlflow.db, the directory mlruns, or a server: http://localhost:5000."
        ),
    ],
    *,
    artifacts: Annotated[
        list[Path],
        typer.Option(metavar="DIR", resolve_path=True, help="A directory of artifacts elsewhere; may be repeated."),
    ] = [],  # noqa: B006 - typer copies it
) -> Answer:
    """Import the runs of MLflow; again, and it adds what has grown. Nothing is written there."""
    where = source if "://" in source else str(Path(source).resolve())
    return imported(session.workspace.import_runs(where, origin="mlflow", files=artifacts))


def neptune(
    session: Session,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", resolve_path=True, help="What neptune-exporter wrote: data and files.")
    ],
    *,
    files: Annotated[
        Path | None, typer.Option(metavar="DIR", resolve_path=True, help="Its directory of files, if it is elsewhere.")
    ] = None,
) -> Answer:
    """Import the runs that neptune-exporter wrote to Parquet; again, and it adds what has grown."""
    folders = [files] if files is not None else []
    return imported(session.workspace.import_runs(directory, origin="neptune", files=folders))


def tensorboard(
    session: Session,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", resolve_path=True, help="What `tensorboard --logdir` gets.")
    ],
    *,
    experiment: Annotated[
        str | None, typer.Option(metavar="NAME", help="The experiment of the runs; by default the directory's name.")
    ] = None,
) -> Answer:
    """Import TensorBoard's event files: a run for each directory; again, and it adds what has grown."""
    return imported(session.workspace.import_runs(directory, origin="tensorboard", experiment=experiment))


def _write(directory: Path, texts: dict[str, str]) -> None:
    """Write files that are not there yet: all of them or none."""
    made: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with (directory / name).open("x", encoding="utf-8") as file:
                made.append(directory / name)
                file.write(text)
    except OSError as error:
        for path in made:
            path.unlink()
        raise DataError(
            f"{directory} cannot be written: {error.strerror}", hint="name another directory: --output DIR"
        ) from error
