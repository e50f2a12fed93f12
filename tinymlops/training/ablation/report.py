"""What an ablation found: for each thing that was left out, how much worse the model is without it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import DataError, NotFoundError, near
from tinymlops.goals import Goal, goal_of
from tinymlops.notebook import in_notebook
from tinymlops.tables import html_list, text_table
from tinymlops.training.ablation.intervals import Difference, difference, places
from tinymlops.training.ablation.picture import forest
from tinymlops.training.ablation.plan import EVERYTHING, FoldPlan, Plan

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Ablation", "Cell", "Effect", "report_of"]

_PREFERRED = ("auc", "log_loss", "rmse", "accuracy", "mae")
"""The metric to rank by, where the caller names none: the first of these that there is."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One run of an ablation: what was left out, of which fold, and what came of it."""

    left_out: str
    fold: str
    run: str
    status: str
    metrics: dict[str, float] = {}
    error: str | None = None


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What leaving one thing out changes."""

    left_out: str
    features: tuple[str, ...]
    score: float | None
    """The mean of the metric without it, over the folds that both have."""
    effect: Difference | None
    """How much better the metric is with it than without it; None if no fold has both."""
    failed: int = 0
    """Folds in which the training failed."""
    error: str | None = None
    """Of one of those."""


class Ablation(msgspec.Struct, frozen=True, kw_only=True):
    """What an ablation found, the most useful first.

    A positive effect says that the model is better with the thing than without it.
    """

    run: str
    training_set: str
    build: str
    drop: str
    metric: str
    goal: Goal
    whole: float
    """The mean of the metric with everything, over its folds."""
    effects: list[Effect]
    folds: list[FoldPlan]
    cells: list[Cell]
    notes: list[str] = []
    pending: int = 0
    """Trainings that have not been done yet."""

    def __repr__(self) -> str:
        digits = places(end for one in self.effects if one.effect is not None for end in one.effect.ends)
        table = text_table([_HEAD, *(_row(one, digits, self._digits) for one in self.effects)], numbers=True)
        return "\n".join([self._title(), table, *self._remarks()])

    def _repr_html_(self) -> str:
        return in_notebook(f"<p>{_escaped(self._title())}</p>", self.to_svg(), html_list(self._remarks()))

    def to_frame(self) -> pl.DataFrame:
        """Return a row for each thing left out, the most useful first, as a Polars frame."""
        import polars as pl

        rows = [
            {
                "left_out": one.left_out,
                "effect": one.effect.mean if one.effect else None,
                "low": one.effect.low if one.effect else None,
                "high": one.effect.high if one.effect else None,
                "folds": one.effect.folds if one.effect else 0,
                "score": one.score,
                "failed": one.failed,
                "features": list(one.features),
            }
            for one in self.effects
        ]
        number, count = pl.Float64, pl.Int64
        kinds = {"left_out": pl.String, "effect": number, "low": number, "high": number, "folds": count}
        return pl.DataFrame(
            rows, schema={**kinds, "score": number, "failed": count, "features": pl.List(pl.String)}, orient="row"
        )

    def to_folds(self) -> pl.DataFrame:
        """Return a row for each thing left out and fold: its run, its status and its metrics, as a Polars frame."""
        import polars as pl

        names = sorted({name for cell in self.cells for name in cell.metrics})
        fixed = ("left_out", "fold", "run", "status", "error")
        columns = [pl.Series(name, [getattr(cell, name) for cell in self.cells], dtype=pl.String) for name in fixed]
        columns += [
            pl.Series(name, [cell.metrics.get(name) for cell in self.cells], dtype=pl.Float64) for name in names
        ]
        return pl.DataFrame(columns)

    def to_svg(self) -> str:
        """Draw the effects with their intervals: a point and a line for each thing left out."""
        rows = [(one.left_out, one.effect) for one in self.effects if one.effect is not None]
        return forest(rows, title=self._title(), axis=f"how much worse {self.metric} is without it")

    def between(self, one: str, other: str) -> Difference | None:
        """Compare two of the models: how much better the metric is without `one` than without `other`, over the folds of both.

        Args:
            one: What is left out of the first, or "everything" for the model with all features.
            other: What is left out of the second.

        Example:
            >>> found.between("spending@v1", "spending")  # doctest: +SKIP
            <difference +0.012 [+0.004, +0.02] over 9 folds>
        """
        known = [EVERYTHING, *(effect.left_out for effect in self.effects)]
        for name in (one, other):
            if name not in known:
                raise NotFoundError(f"{name!r} was not left out in this ablation", hint=near(name, known))
        return difference(_gains(self.cells, one, other, self.metric))

    @property
    def failed(self) -> list[Cell]:
        """The trainings that failed."""
        return [cell for cell in self.cells if cell.status == "failed"]

    @property
    def _digits(self) -> int:
        return places([self.whole, *(one.score for one in self.effects)])

    def _title(self) -> str:
        count = len({cell.fold for cell in self.cells if self.metric in cell.metrics and cell.left_out == EVERYTHING})
        better = "more" if self.goal == "max" else "less"
        return (
            f"{self.training_set} without each {_NOUNS.get(self.drop, 'part')}: {self.metric} ({better} is better), "
            f"{self.whole:,.{self._digits}f} with everything, {count} fold{'s' if count != 1 else ''}"
        )

    def _remarks(self) -> list[str]:
        found = []
        if self.pending:
            found.append(f"{self.pending} trainings are still to be done: resume={self.run[:12]!r}")
        found += [f"fold {fold.name} is not used: {fold.skipped}" for fold in self.folds if fold.skipped]
        found += [_failure(one) for one in self.effects if one.failed]
        lacking = [
            cell.fold
            for cell in self.cells
            if cell.left_out == EVERYTHING and cell.status == "finished" and self.metric not in cell.metrics
        ]
        found += [f"fold {name} has no {self.metric}: its test rows do not define it" for name in lacking]
        found += self.notes
        intervals = sum(one.effect is not None and one.effect.low is not None for one in self.effects)
        if not intervals:
            found.append("no intervals: they need two folds that differ")
        elif intervals >= _MANY:
            by_chance = round(0.05 * intervals)
            found.append(f"of {intervals} intervals of 95 %, about {by_chance} leave out zero by chance")
        return found


_MANY = 20
_HEAD = ["without", "effect", "low", "high", "folds", "score"]
_NOUNS = {"view": "view", "feature": "feature", "variant": "version"}


def report_of(plan: Plan, run: str, cells: Sequence[Cell], *, metric: str | None = None) -> Ablation:
    """Return what the finished trainings of an ablation say.

    Args:
        plan: What it does.
        run: The id of its parent run.
        cells: One for each thing left out and fold that was tried.
        metric: The one to rank by; by default the plan's, else the first of auc, log_loss, rmse that there is.

    Raises:
        DataError: If no training with everything has that metric.
    """
    drops, folds = [EVERYTHING, *plan.drops], plan.used
    cells = sorted(cells, key=lambda cell: (drops.index(cell.left_out), folds.index(cell.fold)))
    name = metric_of([cell for cell in cells if cell.left_out == EVERYTHING], metric or plan.metric)
    effects = [_effect(left_out, features, cells, name) for left_out, features in plan.drops.items()]
    effects.sort(key=lambda one: -one.effect.mean if one.effect is not None else float("inf"))
    whole = [cell.metrics[name] for cell in cells if cell.left_out == EVERYTHING and name in cell.metrics]
    done = sum(cell.status in ("finished", "failed") for cell in cells)
    return Ablation(
        run=run,
        training_set=plan.training_set,
        build=plan.build,
        drop=plan.drop,
        metric=name,
        goal=goal_of(name),
        whole=sum(whole) / len(whole),
        effects=effects,
        folds=plan.folds,
        cells=cells,
        notes=plan.notes,
        pending=len(plan.used) * (len(plan.drops) + 1) - done,
    )


def metric_of(cells: Sequence[Cell], asked: str | None) -> str:
    """Return the metric to rank by.

    Args:
        cells: Those with everything.
        asked: What the caller asked for.

    Raises:
        DataError: If none of them has it, or none is finished.
    """
    names = {name: None for cell in cells for name in cell.metrics}
    if not names:
        failed = next((cell for cell in cells if cell.error), None)
        why = f": {failed.error}" if failed is not None and failed.error else ""
        raise DataError(
            f"no training with everything has finished{why}", hint="without it there is nothing to compare with"
        )
    if asked is not None and asked not in names:
        raise DataError(f"there is no metric {asked!r}", hint=near(asked, list(names)))
    return asked or next((name for name in _PREFERRED if name in names), next(iter(names)))


def _effect(left_out: str, features: tuple[str, ...], cells: Sequence[Cell], metric: str) -> Effect:
    own = [cell for cell in cells if cell.left_out == left_out]
    both = {cell.fold for cell in cells if cell.left_out == EVERYTHING and metric in cell.metrics}
    scores = [cell.metrics[metric] for cell in own if metric in cell.metrics and cell.fold in both]
    failed = [cell for cell in own if cell.status == "failed"]
    return Effect(
        left_out=left_out,
        features=features,
        score=sum(scores) / len(scores) if scores else None,
        effect=difference(_gains(cells, EVERYTHING, left_out, metric)),
        failed=len(failed),
        error=failed[0].error if failed else None,
    )


def _gains(cells: Sequence[Cell], one: str, other: str, metric: str) -> list[float]:
    """Return, by fold, how much better the metric is without `one` than without `other`."""
    sign = 1.0 if goal_of(metric) == "max" else -1.0
    first, second = (_by_fold(cells, name, metric) for name in (one, other))
    return [sign * (first[fold] - second[fold]) for fold in first if fold in second]


def _by_fold(cells: Sequence[Cell], left_out: str, metric: str) -> Mapping[str, float]:
    return {cell.fold: cell.metrics[metric] for cell in cells if cell.left_out == left_out and metric in cell.metrics}


def _row(one: Effect, digits: int, digits_of_scores: int) -> list[str]:
    effect = one.effect
    if effect is None:
        return [one.left_out, "", "", "", "0", ""]
    ends = ["" if end is None else f"{end:+,.{digits}f}" for end in (effect.low, effect.high)]
    score = "" if one.score is None else f"{one.score:,.{digits_of_scores}f}"
    return [one.left_out, f"{effect.mean:+,.{digits}f}", *ends, str(effect.folds), score]


def _failure(one: Effect) -> str:
    return f"without {one.left_out}, training failed in {one.failed} fold{'s' if one.failed != 1 else ''}: {one.error}"


def _escaped(text: str) -> str:
    import html

    return html.escape(text)
