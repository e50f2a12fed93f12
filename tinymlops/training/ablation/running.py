"""Run an ablation: a parent run, and under it one run for each thing left out and fold; each is done once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import DefinitionError, NotFoundError, is_fault
from tinymlops.features.history.training_sets import TrainingData
from tinymlops.progress import progress
from tinymlops.training.ablation.plan import EVERYTHING, PLAN, plan_of, read_plan
from tinymlops.training.ablation.report import Cell, metric_of, report_of
from tinymlops.training.ablation.scoring import check_train, score
from tinymlops.training.backtest import Backtest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinymlops.records import Run
    from tinymlops.registry.runs import Runs
    from tinymlops.training.ablation.drops import Drop
    from tinymlops.training.ablation.plan import Plan, Rows
    from tinymlops.training.ablation.report import Ablation

__all__ = ["ablate", "stored_ablation"]

_PICTURE = "ablation.svg"
_KIND = "tinymlops.kind"
"""The tag of the parent run."""
_LONGEST = 200


def ablate(
    runs: Runs,
    data: TrainingData,
    train: Any,
    *,
    drop: Drop | Mapping[str, Sequence[str]],
    folds: Backtest | None = None,
    metric: str | None = None,
    seed: int = 0,
    name: str | None = None,
    experiment: str | None = None,
    resume: str | None = None,
) -> Ablation:
    """Train without one thing after the other, on each fold, and compare with the training on everything.

    Args:
        runs: The workspace's runs.
        data: Training data; `data.train` is split into folds.
        train: A function of X and y that returns a fitted model, or an estimator, of which a copy is fitted.
        drop: "view", "feature", "variant", or names with features.
        folds: The folds; None for the split that the data came with.
        metric: What to rank by; None for the first of auc, log_loss, rmse that there is.
        seed: Of Python's and NumPy's chance in each training.
        name: Of the parent run.
        experiment: Of all the runs.
        resume: The parent run of an ablation that did not end: what is done stays, the rest is done.

    Raises:
        ConflictError: If an ablation that goes on was begun with other data or code, or goes on elsewhere.
        DataError: If no fold can be used, nothing can be left out, or every training with everything fails.
    """
    _check(data, folds)
    check_train(train, seed)
    plan, rows = plan_of(data, train, drop=drop, folds=folds, metric=metric, seed=seed)
    if resume is None:
        parent = _begin(runs, plan, name or f"{plan.training_set} without each {plan.drop}", experiment)
    else:
        parent = _go_on(runs, plan, resume)
    with _ending(runs, parent):
        cells = _train_all(runs, parent, plan, rows, data, train)
        found = report_of(plan, parent.id, cells)
        runs.log_artifact(parent.id, _PICTURE, found.to_svg().encode(), kind="image")
    return found


def stored_ablation(runs: Runs, reference: str, *, metric: str | None = None) -> Ablation:
    """Return what the runs of an ablation say, also of one that goes on.

    Raises:
        NotFoundError: If the run is not one of an ablation.
    """
    parent = runs.get(reference)
    return report_of(_plan_in(runs, parent), parent.id, _cells(runs, parent), metric=metric)


def _check(data: Any, folds: Any) -> None:
    if not isinstance(data, TrainingData):
        raise DefinitionError(
            f"data={data!r:.100} is not training data", hint="pass what ws.get_training_data(...) returns"
        )
    if not (folds is None or isinstance(folds, Backtest)):
        raise DefinitionError(f"folds={folds!r:.100} are not folds", hint='pass tm.backtest(every="1mo"), or nothing')


def _begin(runs: Runs, plan: Plan, name: str, experiment: str | None) -> Run:
    parent = runs.start(
        name,
        experiment=experiment,
        training_set=plan.build,
        tags={_KIND: "ablation"},
        params={"drop": plan.drop, "folds": len(plan.used), "seed": plan.seed, "train": plan.code.name},
    )
    with _killed_if_broken_off(runs, parent.id):
        runs.log_artifact(parent.id, PLAN, msgspec.json.encode(plan, order="deterministic"))
    return parent


def _go_on(runs: Runs, plan: Plan, reference: str) -> Run:
    parent = runs.get(reference)
    _plan_in(runs, parent).require_same(plan, parent.id[:12])
    runs.resume(parent.id)
    for run in runs.children(parent.id):
        if run.status == "lost":
            runs.finish(run.id, status="killed", error="its process ended")
    return parent


def _plan_in(runs: Runs, parent: Run) -> Plan:
    if parent.tags.get(_KIND) != "ablation" or PLAN not in {one.name for one in runs.artifacts(parent.id)}:
        raise NotFoundError(
            f"run {parent.name!r} is not that of an ablation", hint="pass the run that ws.ablate began: found.run"
        )
    return read_plan(runs.read_artifact(parent.id, PLAN), parent.id[:12])


def _train_all(
    runs: Runs, parent: Run, plan: Plan, rows: Mapping[str, Rows], data: TrainingData, train: Any
) -> list[Cell]:
    """Do what is not done yet, everything first; return all cells."""
    done = {(cell.left_out, cell.fold) for cell in _cells(runs, parent) if cell.status == "finished"}
    with progress("leaving out", len(rows) * (len(plan.drops) + 1)) as advance:
        for left_out in [EVERYTHING, *plan.drops]:
            for fold in rows:
                if (left_out, fold) not in done:
                    _train_one(runs, parent, plan, left_out, (fold, rows[fold]), data, train)
                advance(1)
            if left_out == EVERYTHING:  # before hours of work that could not be compared
                metric_of([cell for cell in _cells(runs, parent) if cell.left_out == EVERYTHING], plan.metric)
    return _cells(runs, parent)


def _train_one(
    runs: Runs, parent: Run, plan: Plan, left_out: str, fold: tuple[str, Rows], data: TrainingData, train: Any
) -> None:
    """Do one training as a run of its own; one that fails is told, and the others go on."""
    name, rows = fold
    group = left_out if left_out == EVERYTHING else f"without {_label(left_out)}"
    run = runs.start(
        f"{group}, {name}",
        experiment=parent.experiment,
        parent=parent.id,
        group=group,
        training_set=plan.build,
        params={"left_out": left_out, "fold": name, "features": len(plan.kept(left_out)), "seed": plan.seed},
    )
    with _killed_if_broken_off(runs, run.id):
        try:
            metrics = score(train, (rows.train, rows.test), plan.kept(left_out), data.signature, seed=plan.seed)
        except BaseException as error:
            if not is_fault(error):
                raise
            runs.finish(run.id, status="failed", error=f"{type(error).__name__}: {error}")
            return
        runs.log_metrics(run.id, metrics, step=0)
        runs.finish(run.id)


def _label(name: str) -> str:
    """Return a name as that of a run: a feature may be called anything."""
    plain = "".join(" " if letter in '"\\' or not letter.isprintable() else letter for letter in name).strip()
    return plain[:_LONGEST] or "unnamed"


def _cells(runs: Runs, parent: Run) -> list[Cell]:
    """Return the newest run of each thing left out and fold, but a finished one before all others."""
    found: dict[tuple[str, str], Cell] = {}
    for run in runs.children(parent.id):
        if run.deleted_at is not None or not {"left_out", "fold"} <= run.params.keys():
            continue
        cell = Cell(
            left_out=str(run.params["left_out"]),
            fold=str(run.params["fold"]),
            run=run.id,
            status=run.status,
            metrics=run.metrics,
            error=run.error,
        )
        key = cell.left_out, cell.fold
        if key not in found or found[key].status != "finished":
            found[key] = cell
    return list(found.values())


@contextmanager
def _ending(runs: Runs, parent: Run) -> Iterator[None]:
    """Finish the parent run, or say why it did not end well."""
    with _killed_if_broken_off(runs, parent.id):
        try:
            yield
        except Exception as error:
            runs.finish(parent.id, status="failed", error=f"{type(error).__name__}: {error}")
            raise
        runs.finish(parent.id)


@contextmanager
def _killed_if_broken_off(runs: Runs, run: str) -> Iterator[None]:
    """End a run that an interrupt breaks off."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):
            runs.finish(run, status="killed", error=f"{type(error).__name__}: {error}".rstrip(": "))
        raise
