"""`verify`, `compact`, `gc`, `backup` and `restore`: the maintenance of a workspace."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tinymlops.errors import IntegrityError
from tinymlops_cli import completion
from tinymlops_cli.commands import command
from tinymlops_cli.failures import EXIT_CODES
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.features.history.reproducing import VerifiedBuild
    from tinymlops.serving.verifying import VerifiedOnline

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for function in (verify, compact, gc, backup, restore):
        command(app)(function)


def verify(
    session: Session,
    training_set: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME_OR_ID]",
            help="A training set's name, for its newest build, or a build's id.",
            autocompletion=completion.training_sets,
        ),
    ] = None,
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only predictions from this time on (ISO 8601).")
    ] = None,
) -> Answer:
    """Build a training set again, or recompute the features of logged predictions: they must come out the same."""
    workspace = session.workspace
    if training_set is not None:
        return _build(workspace.verify(training_set))
    return _online(workspace.verify_online(since=since))


def _build(verified: "VerifiedBuild") -> Answer:
    data = {**msgspec.structs.asdict(verified), "same": verified.same}
    engines = [(name, then, now) for name, (then, now) in verified.engines.items()]
    view: list[str | Table] = [repr(verified).strip("<>")]
    if engines:
        view.append(Table(["engine", "then", "now"], engines))
    return Answer(data, view, code=0 if verified.same else EXIT_CODES[IntegrityError])


def _online(verified: "VerifiedOnline") -> Answer:
    data = {**msgspec.structs.asdict(verified), "same": verified.same}
    view: list[str | Table] = [repr(verified).strip("<>")]
    if not verified.same:
        columns = ["prediction", "feature", "logged", "recomputed"]
        view.append(Table(columns, [msgspec.structs.astuple(example) for example in verified.examples]))
    return Answer(data, view, code=0 if verified.same else EXIT_CODES[IntegrityError])


def compact(
    session: Session,
    sources: Annotated[
        list[str] | None, typer.Argument(help="The sources; by default all.", autocompletion=completion.sources)
    ] = None,
) -> Answer:
    """Merge the files of each source into one; no row is lost or changed. `ingest` does so when there are many."""
    done = session.workspace.compact(*sources or [])
    view = Table.of([msgspec.structs.asdict(one) for one in done]) if done else "there is nothing to merge"
    return Answer(done, [view])


def gc(
    session: Session,
    *,
    grace: Annotated[str, typer.Option(metavar="DURATION", help="How long a file stays after its last use.")] = "7d",
    job_history: Annotated[
        str, typer.Option(metavar="DURATION", help="How long a run of a job stays after its end, with its log.")
    ] = "365d",
) -> Answer:
    """Remove what is not needed: files of crashes and compaction, superseded rebuilds, unused online views, old runs of jobs."""
    collected = session.workspace.gc(grace=grace, job_history=job_history)
    told = (
        f"removed {collected.orphans:,} files that nothing names, {collected.segments:,} segments out of use "
        f"({collected.bytes:,} bytes), {collected.views:,} unused online views, {collected.job_runs:,} old runs of jobs, "
        f"{collected.messages:,} sent messages"
    )
    return Answer(collected, [told])


def backup(
    session: Session,
    directory: Annotated[Path, typer.Argument(metavar="DIR", resolve_path=True, help="It must not exist yet.")],
) -> Answer:
    """Copy the workspace as of one commit, while others read and write it."""
    made = session.workspace.backup(directory)
    data = {"directory": directory, "sequence": made.sequence, "files": len(made.files), "bytes": made.bytes}
    return Answer(data, [f"{len(made.files):,} files, {made.bytes:,} bytes as of Q={made.sequence} in {directory}"])


def restore(
    session: Session,
    directory: Annotated[
        Path, typer.Argument(metavar="BACKUP", resolve_path=True, help="The directory that backup made.")
    ],
) -> Answer:
    """Restore the workspace from a backup, after checking every file of it; the workspace must not exist yet."""
    from tinymlops.workspace import restore as restored

    made = restored(directory, session.path)
    data = {"workspace": session.path, "sequence": made.sequence, "files": len(made.files), "bytes": made.bytes}
    lines = [f"restored {session.path} as of Q={made.sequence}", "next:", "  tinymlops materialize"]
    return Answer(data, lines)
