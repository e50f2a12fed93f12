"""`diff`: of two versions of a definition, of two builds of training sets, or of features at two sequences."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tinymlops.errors import DefinitionError, NotFoundError
from tinymlops_cli import completion
from tinymlops_cli.commands import command
from tinymlops_cli.failures import UsageError
from tinymlops_cli.output import Answer
from tinymlops_cli.rows import is_table, read_file, split_names
from tinymlops_cli.session import Session
from tinymlops_cli.spines import with_times

if TYPE_CHECKING:
    from tinymlops.features.law.data_diff import DataDiff
    from tinymlops.records import Definition

__all__ = ["add_to", "definition_of"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(diff)


def diff(
    session: Session,
    before: Annotated[
        str,
        typer.Argument(
            metavar="NAME[@vN] | BUILD | FEATURES",
            help="A version, the id of a build, or with --spine: features.",
            autocompletion=completion.named,
        ),
    ],
    after: Annotated[
        str | None,
        typer.Argument(metavar="NAME[@vN] | BUILD", help="Another one.", autocompletion=completion.named),
    ] = None,
    *,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Which of several that have the name, such as source.")
    ] = None,
    spine: Annotated[
        Path | None,
        typer.Option(metavar="FILE", resolve_path=True, help="Compare features of these rows at two sequences."),
    ] = None,
    since: Annotated[int | None, typer.Option("--from", metavar="Q", help="With --spine: the first sequence.")] = None,
    until: Annotated[int | None, typer.Option("--to", metavar="Q", help="With --spine: the second sequence.")] = None,
    timestamp: Annotated[str, typer.Option(metavar="COLUMN", help="The time column of the spine.")] = "timestamp",
    tz: Annotated[str | None, typer.Option(metavar="ZONE", help="The zone of times without one.")] = None,
) -> Answer:
    """Say how two versions of a definition differ, or why the numbers of two builds do, by cause."""
    if spine is not None or since is not None or until is not None:
        if after is not None or spine is None or since is None or until is None:
            raise UsageError(
                "features are compared with one name, --spine, --from and --to",
                hint="tinymlops diff spending --from 120 --to 188 --spine rows.parquet",
            )
        return _of_features(session, before, (since, until), spine, timestamp, tz)
    if after is None:
        raise UsageError(
            f"{before} is compared with nothing",
            hint="name another version or build; or compare features: --spine FILE --from Q --to Q",
        )
    if _are_builds(session, before, after):
        return _shown(session.workspace.diff(before, after))
    return _of_definitions(session, before, after, kind)


def definition_of(session: Session, reference: str, kind: str | None) -> "Definition":
    """Return a version of a definition.

    Raises:
        NotFoundError: If there is none, or it is a model.
    """
    catalog = session.workspace.catalog
    target = catalog.remarks.find(reference, kind=kind)
    for row in catalog.versions(target.kind, target.name):
        if row.version == target.version:
            return row
    raise NotFoundError(f"{reference} is a model, not a definition", hint=f"tinymlops models show {target.name}")


def _are_builds(session: Session, *references: str) -> bool:
    """Return whether ids of builds are meant: both are written as one, and neither is the name of a definition."""
    from tinymlops.features.law.diffing import is_build

    names = {one.name for one in session.workspace.catalog.list()}
    return any(is_build(one) and one not in names for one in references)


def _of_definitions(session: Session, before: str, after: str, kind: str | None) -> Answer:
    from tinymlops.features.definitions import specs
    from tinymlops.features.law.differences import differences

    rows = [definition_of(session, one, kind) for one in (before, after)]
    old, new = (specs.decode(msgspec.json.encode(row.spec)) for row in rows)
    if type(old) is not type(new):
        raise DefinitionError(f"{before} and {after} are of different kinds", hint="compare versions of one definition")
    found = differences(old, new)
    return Answer({"before": before, "after": after, "differences": found}, found or ["no difference"])


def _of_features(
    session: Session, names: str, sequences: tuple[int, int], file: Path, timestamp: str, tz: str | None
) -> Answer:
    from tinymlops.frames import to_polars
    from tinymlops.table_files import written_as_text

    features = split_names(names)
    text = written_as_text(session.workspace.key_types(features)) if is_table(file) else set()
    rows = with_times(to_polars(read_file(file, {*text, timestamp})), timestamp, tz)
    before, after = sequences
    return _shown(
        session.workspace.diff_features(rows, features, before=before, after=after, timestamp=timestamp, tz=tz)
    )


def _shown(found: "DataDiff") -> Answer:
    return Answer(found.as_dict(), [str(found)])
