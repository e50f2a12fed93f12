"""Everything that two runs can differ in, as one flat mapping a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinymlops.errors import NotFoundError
from tinymlops.features.history.training_sets import read_manifest
from tinymlops.records import TrainingSetBuild
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinymlops.features.context import Context
    from tinymlops.records import Run
    from tinymlops.registry.runs import Runs

__all__ = ["SECTIONS", "Facts", "facts_of", "section_of"]

Facts = dict[str, Any]
"""Name, such as `params.depth`, to a scalar; what a run does not have is left out."""

SECTIONS = ("run", "params", "tags", "metrics", "data", "definitions", "models", "code", "packages", "machine")
_OF_RUN = ("name", "status", "group", "parent", "user", "origin", "notes", "error")
_SHORT = 12


def facts_of(context: Context, runs: Runs, found: Sequence[Run]) -> list[Facts]:
    """Return what is known of each run.

    Args:
        context: The workspace's state.
        runs: Of the workspace.
        found: The runs.
    """
    experiments = {one.id: one.name for one in runs.experiments(deleted=None)}
    metrics = runs.metric_parts([run.id for run in found], ["last", "best", "count"])
    builds = {build: _of_build(context, build) for build in {run.training_set for run in found} if build is not None}
    return [
        {
            **_of_run(run, experiments),
            **{f"params.{name}": value for name, value in sorted(run.params.items())},
            **{f"tags.{name}": value for name, value in sorted(run.tags.items())},
            **_of_metrics(metrics.get(run.id, {})),
            **builds.get(run.training_set or "", {}),
            **_of_inputs(runs, run),
            **_of_models(runs, run),
            **_of_code(run),
            **{f"packages.{name}": version for name, version in sorted(run.packages.items())},
            **{f"machine.{name}": value for name, value in sorted(run.machine.items())},
        }
        for run in found
    ]


def section_of(name: str) -> str:
    """Return the section that a fact belongs to.

    Example:
        >>> section_of("params.depth"), section_of("status")
        ('params', 'run')
    """
    section = name.partition(".")[0]
    return section if section in SECTIONS else "run"


def _of_run(run: Run, experiments: Mapping[int | None, str]) -> Facts:
    facts = {name: getattr(run, name) for name in _OF_RUN}
    facts["experiment"] = experiments.get(run.experiment)
    if run.ended_at is not None:
        facts["duration"] = (run.ended_at - run.started_at).total_seconds()
    return {name: value for name, value in facts.items() if value is not None}


def _of_metrics(metrics: Mapping[str, tuple[float | None, ...]]) -> Facts:
    facts: Facts = {}
    for name, (last, best, count) in metrics.items():
        if name.startswith("system/"):  # the load of the machine, which nobody chose
            continue
        facts[f"metrics.{name}"] = last
        if count is not None and count > 1 and best is not None:
            facts[f"metrics.{name}.best"] = best
    return facts


def _of_build(context: Context, build: str) -> Facts:
    record = context.environment.database.get(TrainingSetBuild, id=build)
    if record is None:
        return {"data.build": build}
    facts: Facts = {"data.name": record.name, "data.build": build, "data.sequence": record.sequence}
    facts["data.content"] = record.fingerprint[:_SHORT]
    try:
        manifest = read_manifest(context, record)
    except NotFoundError:
        return facts
    recipe, report = manifest.recipe, manifest.report
    facts["data.complete_until"] = from_micros(recipe.complete_until).isoformat()
    if recipe.test_from is not None:
        facts["data.test_from"] = from_micros(recipe.test_from).isoformat()
    for name in ("spine_rows", "immature", "no_outcome", "purged", "train_rows", "test_rows"):
        facts[f"data.{name}"] = getattr(report, name)
    facts["data.features"] = len(manifest.signature.features)
    facts |= {f"data.features.{field.name}": field.source for field in manifest.signature.features}
    return facts | {f"definitions.{name}": print_[:_SHORT] for name, print_ in sorted(manifest.definitions.items())}


def _of_inputs(runs: Runs, run: Run) -> Facts:
    return {f"data.inputs.{one.name}": one.digest for one in runs.inputs(run.id)}


def _of_models(runs: Runs, run: Run) -> Facts:
    return {f"models.{model.name}": model.model_class for model in runs.models(run.id)}


def _of_code(run: Run) -> Facts:
    facts: Facts = {} if run.git_commit is None else {"code.commit": run.git_commit, "code.changed": run.git_dirty}
    if run.patch_sha256 is not None:
        facts["code.patch"] = run.patch_sha256[:_SHORT]
    return facts
