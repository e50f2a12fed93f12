"""`runs export` and `runs import`, and how the report of any import is shown."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tinymlops_cli import completion
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.carry.report import ImportLine, ImportReport

__all__ = ["export_runs", "import_runs", "imported"]

_FAILED = 1
_LONGEST = 300


def export_runs(
    session: Session,
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN]...",
            help="Ids, beginnings of ids, or names; all of them if none is given.",
            autocompletion=completion.runs,
        ),
    ] = [],  # noqa: B006 - typer copies it
    *,
    output: Annotated[Path, typer.Option(metavar="FILE", resolve_path=True, help="The file, such as runs.zip.")],
    where: Annotated[str | None, typer.Option(help='Those that a search finds, such as "metrics.auc > 0.7".')] = None,
    with_console: Annotated[
        bool, typer.Option("--with-console", help="Also what they wrote to their consoles.")
    ] = False,
    with_patch: Annotated[
        bool, typer.Option("--with-patch", help="Also the uncommitted changes of their code.")
    ] = False,
) -> Answer:
    """Write runs with their points, files and logged models to one file, which any workspace can import."""
    told = session.workspace.export_runs(output, runs, where=where, console=with_console, patch=with_patch)
    rows = [
        {
            "run": one.id[:12],
            "experiment": one.experiment,
            "name": one.name,
            "points": one.points,
            "artifacts": one.artifacts,
        }
        for one in told.runs
    ]
    view: list[str | Table] = [Table.of(rows)] if rows else []
    return Answer(told, [*view, f"{_counted(len(rows), 'run')}, {told.bytes:,} bytes: {told.path}"])


def import_runs(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", resolve_path=True, help="What `runs export` wrote.")],
    *,
    skip: Annotated[
        bool, typer.Option("--skip", help="Leave out runs that differ here or were deleted here, and say so.")
    ] = False,
) -> Answer:
    """Merge the runs of a file into this workspace; it is checked as a whole before anything is written."""
    return imported(session.workspace.import_runs(file, skip=skip))


def imported(report: "ImportReport") -> Answer:
    """Show an import: a line for each run, what could not come, and the counts there and here."""
    rows = [
        {
            "experiment": line.experiment,
            "run": line.name or line.run,
            "id": line.run[:12],
            "": line.outcome,
            "params": line.params,
            "metrics": line.metrics,
            "points": line.points,
            "tags": line.tags,
            "datasets": line.inputs,
            "artifacts": line.artifacts,
        }
        for line in report.lines
    ]
    view: list[str | Table] = [Table.of(rows) if rows else "there are no runs"]
    for line in report.lines:
        view += [f"{_label(line)}: left out: {_short(what)}" for what in line.left_out]
        view += [f"{_label(line)}: {_short(what)}" for what in line.remarks]
    view += [_short(remark) for remark in report.remarks]
    points, here = report.points
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in report.outcomes.items())
    created = f"; {_counted(report.experiments, 'experiment')} created" if report.experiments else ""
    view += ["", f"{_counted(len(rows), 'run')}: {outcomes or 'none'}{created}"]
    view.append(f"{points:,} points in the source, {here:,} here")
    data = {
        "origin": report.origin,
        "runs": report.lines,
        "remarks": report.remarks,
        "outcomes": report.outcomes,
        "points": points,
        "points_here": here,
        "experiments_created": report.experiments,
        "complete": report.is_complete,
    }
    return Answer(data, view, 0 if report.is_complete else _FAILED)


def _label(line: "ImportLine") -> str:
    return f"{line.name} ({line.run[:12]})" if line.name else line.run


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
