"""`runs curve`, `note`, `tag`, `trash`, `restore`, `delete`, and `experiments`: runs looked at and changed one by one."""

from typing import Annotated

import typer

from tinymlops.errors import DataError, near
from tinymlops_cli import completion
from tinymlops_cli.commands import command, group
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

__all__ = ["add_experiments_to", "add_to"]

RunName = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Its id, the beginning of it, or its name.", autocompletion=completion.runs),
]
ExperimentName = Annotated[
    str, typer.Argument(metavar="EXPERIMENT", help="Its name or id.", autocompletion=completion.experiments)
]
_PIXELS = 40


def add_to(runs: typer.Typer) -> None:
    """Add the commands to those of `runs`."""
    command(runs, "curve")(show_curve)
    command(runs, "note")(note_run)
    command(runs, "tag")(tag_run)
    command(runs, "trash")(trash_run)
    command(runs, "restore")(restore_run)
    command(runs, "delete")(delete_run)


def add_experiments_to(app: typer.Typer) -> None:
    """Add `experiments`."""
    experiments = group(app, "experiments", "What runs belong to.")
    command(experiments, "list")(list_experiments)
    command(experiments, "rename")(rename_experiment)
    command(experiments, "trash")(trash_experiment)
    command(experiments, "restore")(restore_experiment)


def show_curve(
    session: Session,
    run: RunName,
    metric: Annotated[str, typer.Argument(help="Such as val/loss.")],
    *,
    pixels: Annotated[int, typer.Option(help="Its width: at most four points each.")] = _PIXELS,
    x: Annotated[str, typer.Option(help="step, time, or another metric.")] = "step",
    start: Annotated[float | None, typer.Option(help="The first x to show.")] = None,
    stop: Annotated[float | None, typer.Option(help="The last x to show.")] = None,
) -> Answer:
    """Show the curve of a metric: the first, least, greatest and last point of each column."""
    runs = session.workspace.runs
    found = runs.get(run)
    curve = runs.curve(found.id, metric, pixels=pixels, x=x, start=start, stop=stop)
    if not curve.total and metric not in found.metrics:
        raise DataError(f"run {found.name!r} has no metric {metric!r}", hint=near(metric, list(found.metrics)))
    rows = list(zip(curve.x.tolist(), curve.y.tolist(), strict=True))
    said = f"{curve.shown:,} of {curve.total:,} points"
    data = {"run": found.id, "metric": metric, "x": x, "shown": curve.shown, "total": curve.total, "points": rows}
    return Answer(data, [Table([x, metric], rows), said] if rows else [said])


def note_run(
    session: Session, run: RunName, text: Annotated[str, typer.Argument(help="The notes; empty removes them.")]
) -> Answer:
    """Write the notes of a run."""
    runs = session.workspace.runs
    changed = runs.set_notes(runs.get(run).id, text or None)
    return Answer(changed, [f"{changed.name} ({changed.id[:12]}): {changed.notes or 'no notes'}"])


def tag_run(
    session: Session,
    run: RunName,
    tags: Annotated[list[str], typer.Argument(metavar="NAME=TEXT...", help="team=growth; team= removes it.")],
) -> Answer:
    """Set tags of a run, or remove some."""
    runs = session.workspace.runs
    found = runs.get(run)
    pairs = [tag.partition("=") for tag in tags]
    if not all(equals for _, equals, _ in pairs):
        raise DataError(f"a tag is NAME=TEXT, not {tags!r}", hint="tinymlops runs tag baseline team=growth")
    runs.set_tags(found.id, {name: text for name, _, text in pairs if text})
    for name, _, text in pairs:
        if not text:
            runs.delete_tag(found.id, name)
    changed = runs.get(found.id)
    return Answer(changed, [f"{changed.name} ({changed.id[:12]}): {changed.tags}"])


def trash_run(session: Session, run: RunName) -> Answer:
    """Put a run into the trash, where searches do not look."""
    runs = session.workspace.runs
    found = runs.get(run)
    runs.trash(found.id)
    return Answer(
        runs.get(found.id), [f"{found.name} ({found.id[:12]}) is in the trash: tinymlops runs restore {found.id[:12]}"]
    )


def restore_run(session: Session, run: RunName) -> Answer:
    """Take a run out of the trash."""
    runs = session.workspace.runs
    found = runs.get(run)
    runs.restore(found.id)
    return Answer(runs.get(found.id), [f"{found.name} ({found.id[:12]}) is restored"])


def delete_run(
    session: Session,
    run: RunName,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do it: nothing brings it back.")] = False,
) -> Answer:
    """Delete a run for good, with its points, files and models, and free the disk that they took."""
    runs = session.workspace.runs
    found = runs.get(run)
    if not yes:
        raise DataError(
            f"{found.name!r} ({found.id}) would be deleted for good",
            hint=f"tinymlops runs delete {found.id[:12]} --yes",
        )
    runs.delete(found.id)
    return Answer({"deleted": found}, [f"{found.name} ({found.id}) is deleted"])


def list_experiments(
    session: Session, *, deleted: Annotated[bool, typer.Option("--deleted", help="Those in the trash.")] = False
) -> Answer:
    """List experiments, and how many runs each has."""
    runs = session.workspace.runs
    counts = runs.count_by_experiment()
    found = runs.experiments(deleted=deleted)
    data = [{"experiment": one, "runs": counts.get(one.id or 0, 0)} for one in found]
    rows = [
        {"id": one.id, "experiment": one.name, "runs": counts.get(one.id or 0, 0), "notes": one.notes or ""}
        for one in found
    ]
    return Answer(data, [Table.of(rows) if rows else "no experiments"])


def rename_experiment(
    session: Session, experiment: ExperimentName, name: Annotated[str, typer.Argument(help="Its new name.")]
) -> Answer:
    """Give an experiment another name."""
    renamed = session.workspace.runs.rename_experiment(experiment, name)
    return Answer(renamed, [f"experiment {renamed.id} is {renamed.name}"])


def trash_experiment(session: Session, experiment: ExperimentName) -> Answer:
    """Put an experiment and its runs into the trash."""
    trashed = session.workspace.runs.trash_experiment(experiment)
    return Answer(trashed, [f"{trashed.name} is in the trash: tinymlops experiments restore {trashed.name!r}"])


def restore_experiment(session: Session, experiment: ExperimentName) -> Answer:
    """Take an experiment out of the trash, with the runs that were put there with it."""
    restored = session.workspace.runs.restore_experiment(experiment)
    return Answer(restored, [f"{restored.name} is restored"])
