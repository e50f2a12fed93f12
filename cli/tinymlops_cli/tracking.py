"""`runs`, `models` and `promote`: runs, registered versions, and the version in use."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tinymlops_cli import completion, run_changes, run_findings
from tinymlops_cli.carrying import export_runs, import_runs
from tinymlops_cli.commands import command, group
from tinymlops_cli.failures import UsageError
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.records import Artifact, ModelAlias, ModelVersion, Run

__all__ = ["add_to"]

_MOST_RUNS = 100
_MOST_FILES = 50
"""Files of a run that are shown."""

Order = Annotated[
    str, typer.Option(metavar="FIELD", help="Such as metrics.auc; with a leading minus the greatest first.")
]
Limit = Annotated[int, typer.Option(min=0, help="The most to list.")]


Message = Annotated[str, typer.Option("--message", "-m", metavar="WHY", help="Why; kept with the version.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    runs = group(app, "runs", "Experiment runs.")
    command(runs, "list")(list_runs)
    command(runs, "search")(search_runs)
    command(runs, "show")(show_run)
    command(runs, "console")(show_console)
    command(runs, "compare")(compare_runs)
    run_changes.add_to(runs)
    run_changes.add_experiments_to(app)
    run_findings.add_to(runs)
    command(runs, "export")(export_runs)
    command(runs, "import")(import_runs)
    models = group(app, "models", "Registered models.")
    command(models, "list")(list_models)
    command(models, "show")(show_model)
    command(models, "register")(register_model)
    command(app)(promote)
    command(app)(rollback)


def list_runs(session: Session, *, order_by: Order = "-started_at", limit: Limit = _MOST_RUNS) -> Answer:
    """List runs, the newest first."""
    return _runs(session.workspace.runs.search(order_by=order_by, limit=limit))


def search_runs(
    session: Session,
    where: Annotated[
        str, typer.Argument(help='Such as "metrics.auc.best > 0.7 and (params.depth = 3 or tags.team is null)".')
    ],
    *,
    order_by: Order = "-started_at",
    limit: Limit = _MOST_RUNS,
) -> Answer:
    """Find runs by their metrics, parameters, tags and everything else that is known of them."""
    return _runs(session.workspace.runs.search(where, order_by=order_by, limit=limit))


def show_run(
    session: Session,
    run: Annotated[
        str, typer.Argument(help="Its id, the beginning of it, or its name.", autocompletion=completion.runs)
    ],
) -> Answer:
    """Show a run with its machine, files and models."""
    runs = session.workspace.runs
    found = runs.get(run)
    artifacts, models = runs.artifacts(found.id), runs.models(found.id)
    facts = {
        "id": found.id,
        "name": found.name,
        "status": found.status,
        "error": found.error,
        "started": found.started_at,
        "ended": found.ended_at,
        "training set": found.training_set,
        "commit": f"{found.git_commit} (with changes)" if found.git_dirty else found.git_commit,
        "params": found.params,
        "metrics": found.metrics,
        "tags": found.tags,
        "machine": found.machine,
        "files": _files(artifacts),
        "models": {model.name: model.model_class for model in models},
    }
    return Answer({"run": found, "artifacts": artifacts, "models": models}, [_facts(facts)])


def show_console(
    session: Session,
    run: Annotated[
        str, typer.Argument(help="Its id, the beginning of it, or its name.", autocompletion=completion.runs)
    ],
) -> Answer:
    """Print what a run wrote to its console, as a terminal showed it in the end."""
    runs = session.workspace.runs
    found = runs.get(run)
    text = runs.console(found.id)
    return Answer({"run": found.id, "console": text}, [text.removesuffix("\n") if text else "no output"])


def compare_runs(
    session: Session,
    chosen: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Runs by id, the beginning of it, or name; or one group, or one search.",
            autocompletion=completion.runs,
        ),
    ],
    *,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="Compare groups: such as group, or params.depth; may be repeated."),
    ] = None,
    metric: Annotated[str | None, typer.Option(metavar="NAME", help="With --by: such as auc or auc.best.")] = None,
) -> Answer:
    """Say what differs between runs, or compare groups of them by the means of their metrics."""
    runs = chosen[0] if len(chosen) == 1 else chosen
    if by:
        groups = session.workspace.compare(runs, by=by, metric=metric)
        return Answer(groups.as_dict(), [str(groups)])
    if metric is not None:
        raise UsageError(
            "--metric is for groups", hint='tinymlops runs compare "params.depth > 0" --by group --metric auc'
        )
    found = session.workspace.compare(runs)
    return Answer(found.as_dict(), [str(found)] + ([found.patch] if found.patch else []))


def list_models(session: Session) -> Answer:
    """List models: the newest version of each, and its aliases."""
    models = session.workspace.models
    found = [(version, models.aliases(version.name)) for version in models.list()]
    data = [{"version": version, "aliases": aliases} for version, aliases in found]
    rows = [
        {"model": version.name, "newest": version.version, "registered": version.registered_at, "aliases": _at(aliases)}
        for version, aliases in found
    ]
    return Answer(data, [Table.of(rows) if rows else "no model is registered yet"])


def show_model(
    session: Session,
    model: Annotated[
        str,
        typer.Argument(
            help="delay (its champion, else its newest version), delay@latest or delay:3.",
            autocompletion=completion.versions,
        ),
    ],
) -> Answer:
    """Show a version, what it depends on, and the other versions."""
    models = session.workspace.models
    version = models.get(model)
    manifest, aliases, versions = models.manifest(version), models.aliases(version.name), models.versions(version.name)
    logged = manifest.model
    facts = {
        "model": f"{version.name}:{version.version}",
        "registered": version.registered_at,
        "run": f"{manifest.run.name} ({manifest.run.id})",
        "class": logged.model_class,
        "flavor": logged.flavor,
        "bytes": logged.bytes,
        "task": logged.signature.task,
        "request": {field.name: field.dtype for field in logged.signature.request},
        "features": [field.name for field in logged.signature.features],
        "training set": manifest.training_set.name if manifest.training_set is not None else None,
        "evaluation": logged.evaluation.metrics if logged.evaluation is not None else None,
        "stands on": sorted(logged.definitions),
        "versions": len(versions),
        "aliases": _at(aliases),
    }
    data = {"version": version, "versions": versions, "aliases": aliases, "manifest": manifest}
    return Answer(data, [_facts(facts)])


def register_model(
    session: Session,
    name: Annotated[str, typer.Argument(help="The model's name, such as delay.", autocompletion=completion.models)],
    *,
    run: Annotated[str, typer.Option(help="Its id, the beginning of it, or its name.", autocompletion=completion.runs)],
    logged_name: Annotated[str, typer.Option(metavar="NAME", help="What the run logged it as.")] = "model",
    alias: Annotated[str | None, typer.Option(help="Point this alias at it, such as champion.")] = None,
) -> Answer:
    """Register a logged model as the next version of a name."""
    version: ModelVersion = session.workspace.register_model(name, run=run, logged_name=logged_name, alias=alias)
    at = f", {name}@{alias}" if alias is not None else ""
    return Answer(version, [f"{name}:{version.version}{at} from run {version.run[:12]}"])


def promote(
    session: Session,
    name: Annotated[str, typer.Argument(help="The model's name.", autocompletion=completion.models)],
    version: Annotated[int, typer.Argument(min=1, help="The version to point at.")],
    alias: Annotated[str, typer.Argument(help="To move.")] = "champion",
    *,
    expected: Annotated[
        int | None, typer.Option(min=0, help="Move it only from this version; 0: only if it does not exist.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Let a version that is marked experimental be the champion.")
    ] = False,
    message: Message = "",
) -> Answer:
    """Point an alias at a version."""
    moved = session.workspace.promote(name, version, alias, expected=expected, force=force, message=message)
    before = f", before that {moved.previous}" if moved.previous is not None else ""
    return Answer(moved, [f"{name}@{alias} is version {moved.version}{before}"])


def rollback(
    session: Session,
    name: Annotated[str, typer.Argument(help="The model's name.", autocompletion=completion.models)],
    alias: Annotated[str, typer.Argument(help="To move back.")] = "champion",
    *,
    message: Message = "",
) -> Answer:
    """Point an alias back at the version before its last move; once."""
    back = session.workspace.models.rollback(name, alias, message=message)
    return Answer(back, [f"{name}@{alias} is version {back.version} again"])


def _runs(runs: "Sequence[Run]") -> Answer:
    rows = [
        {
            "run": run.id[:12],
            "name": run.name,
            "status": run.status,
            "started": run.started_at,
            "metrics": run.metrics,
            "params": run.params,
            "tags": run.tags,
        }
        for run in runs
    ]
    return Answer(runs, [Table.of(rows) if rows else "no runs"])


def _facts(facts: Mapping[str, object]) -> Table:
    """Show one record as a table of two columns, without empty fields."""
    return Table(["", ""], [(name, value) for name, value in facts.items() if value not in (None, {}, [])])


def _files(artifacts: "Sequence[Artifact]") -> list[str]:
    """Return the names of files with what they are, the first of many."""
    shown = [one.name if one.kind == "file" else f"{one.name} ({one.kind})" for one in artifacts[:_MOST_FILES]]
    more = len(artifacts) - len(shown)
    return [*shown, f"and {more:,} more"] if more else shown


def _at(aliases: "Sequence[ModelAlias]") -> list[str]:
    return [f"{alias.alias} = {alias.version}" for alias in aliases]
