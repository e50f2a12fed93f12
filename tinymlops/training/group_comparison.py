"""`ws.compare(by=...)`: groups of runs, such as the seeds or folds of each configuration, by the means of their metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import DataError, NotFoundError, near
from tinymlops.notebook import in_notebook
from tinymlops.printable import printable
from tinymlops.registry.run_search import Field, parse_field
from tinymlops.tables import html_table, text_table
from tinymlops.training.best_of import Best, best_of, goal_in, metric_field, values_of
from tinymlops.training.run_table import column_of
from tinymlops.training.uncertainty import Mean, Paired, mean_of, paired_t, pooled_sd

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.records import Run
    from tinymlops.registry.runs import Runs

__all__ = ["Group", "GroupComparison", "compare_groups"]

_PAIRED_BY = ("seed", "random_state", "fold", "split", "repeat")
"""Parameters that tell the runs of a group apart, if none are named."""
_OF_RUN = ("group", "name", "experiment", "status", "parent", "user", "training_set", "git_commit", "origin")
_ROWS, _METRICS = 40, 6


class Group(msgspec.Struct, frozen=True):
    """Runs that have the same values in what they are grouped by."""

    name: str
    """Such as `ridge`, or `depth=3, rate=0.1`."""
    values: dict[str, Any]
    """What they are grouped by, to its value."""
    runs: list[str]
    """Their ids."""
    metrics: dict[str, Mean]


class GroupComparison:
    """Groups of runs, each with the mean of its metrics and its interval.

    Attributes:
        by: What the runs are grouped by.
        groups: The best one by the metric first, if one was named; else in the order of their names.
        without: How many runs belong to no group.
    """

    def __init__(self, noun: Runs, runs: Sequence[Run], by: Sequence[Field], metric: str | None) -> None:
        self._noun, self._metric = noun, metric
        self._runs = {run.id: run for run in runs}
        self.by = [_title(one) for one in by]
        members, self.without = _members(noun, runs, by)
        if metric is None:
            names = sorted({name for run in runs for name in run.metrics})
            self._values = {name: {run.id: run.metrics[name] for run in runs if name in run.metrics} for name in names}
        else:
            self._values = {metric: values_of(noun, runs, metric_field(metric))}
        self.groups = sorted(
            (_group(self.by, key, ids, self._values) for key, ids in members.items()), key=lambda one: one.name
        )
        if metric is not None:
            goal = goal_in(noun, list(self._values[metric]), metric_field(metric).name)
            self.groups.sort(key=lambda one: _rank(one.metrics[metric].mean, goal))

    def __repr__(self) -> str:
        return printable("\n".join([self._title(), text_table(self._table()), *self._notes()]))

    def _repr_html_(self) -> str:
        from html import escape

        notes = (f"<p>{escape(one)}</p>" for one in self._notes())
        return in_notebook(html_table(self._title(), self._table()), *notes)

    def to_frame(self) -> pl.DataFrame:
        """Return a row for each group: what it is grouped by, `runs`, and `n`, `mean`, `sd`, `low` and `high` of each metric.

        The interval is null for one run, which gives none.
        """
        import polars as pl

        columns = [column_of(name, [one.values[name] for one in self.groups]) for name in self.by]
        columns.append(pl.Series("runs", [len(one.runs) for one in self.groups], dtype=pl.Int64))
        for metric in self._values:
            means = [one.metrics[metric] for one in self.groups]
            columns.append(pl.Series(f"{metric}.n", [one.n for one in means], dtype=pl.Int64))
            for part in ("mean", "sd", "low", "high"):
                numbers = [getattr(one, part) for one in means]
                columns.append(pl.Series(f"{metric}.{part}", numbers, dtype=pl.Float64))
        return pl.DataFrame(columns)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {"by": self.by, "groups": self.groups, "without": self.without, "notes": self._notes()}

    def best(self, metric: str | None = None) -> Best:
        """Return the best group by the mean of a metric, and how much of its lead is to be expected from luck alone.

        The noise of a mean is the deviation inside the groups, all taken together, divided by the root of the runs of a group.

        Args:
            metric: Its name; by default the one that was compared by.
        """
        metric = self._chosen(metric)
        values = self._values[metric]
        means = {one.name: one.metrics[metric] for one in self.groups if one.metrics[metric].mean is not None}
        inside = [[values[run] for run in one.runs if math.isfinite(values.get(run, math.nan))] for one in self.groups]
        noise = pooled_sd(inside)
        if noise is not None:
            noise *= math.sqrt(sum(1 / one.n for one in means.values()) / len(means))
        goal = goal_in(self._noun, list(values), metric_field(metric).name)
        return best_of({name: one.mean for name, one in means.items() if one.mean is not None}, metric, goal, noise)

    def test(
        self,
        first: str,
        second: str,
        metric: str | None = None,
        *,
        on: str | Sequence[str] | None = None,
        overlap: float = 0.0,
    ) -> Paired:
        """Test whether two groups differ: runs with the same seed or fold are pairs, and a positive mean is the second's lead.

        Args:
            first: The name of a group.
            second: The name of another one.
            metric: Its name; by default the one that was compared by.
            on: Parameters that tell the runs of a group apart; by default those named `seed`, `random_state`, `fold`, `split`
                or `repeat`.
            overlap: For folds of one set of rows: test rows of a fold divided by the rows fitted on (`paired_t`).

        Raises:
            DataError: If the runs cannot be paired.
            NotFoundError: If there is no such group or metric.
        """
        metric = self._chosen(metric)
        left, right = (self._by_key(self._group(one), metric, on) for one in (first, second))
        common = [key for key in left if key in right]
        if not common:
            raise DataError(
                f"no run of {first!r} has a partner in {second!r}", hint="run both with the same seeds, or name on=..."
            )
        found = paired_t([right[key] - left[key] for key in common], overlap=overlap)
        return msgspec.structs.replace(found, unmatched=len(left) + len(right) - 2 * len(common))

    def _by_key(self, group: Group, metric: str, on: str | Sequence[str] | None) -> dict[tuple[Any, ...], float]:
        runs = [self._runs[run] for run in group.runs if not math.isnan(self._values[metric].get(run, math.nan))]
        named = [on] if isinstance(on, str) else list(on or ())
        names = [one.removeprefix("params.") for one in named]
        names = names or [name for name in _PAIRED_BY if any(name in run.params for run in runs)]
        if not names:
            raise DataError(
                f"the runs of {group.name!r} cannot be paired: they have no parameter {', '.join(_PAIRED_BY)}",
                hint='log the seed or fold as a parameter, or name what tells them apart: on="params.part"',
            )
        keyed = [(tuple(run.params.get(name) for name in names), self._values[metric][run.id]) for run in runs]
        if len(dict(keyed)) < len(keyed):
            raise DataError(
                f"several runs of {group.name!r} have the same {', '.join(names)}",
                hint="compare fewer runs, or name more that tells them apart: on=[...]",
            )
        return dict(keyed)

    def _group(self, name: str) -> Group:
        for one in self.groups:
            if one.name == name:
                return one
        raise NotFoundError(f"there is no group {name!r}", hint=near(str(name), [one.name for one in self.groups]))

    def _chosen(self, metric: str | None) -> str:
        chosen = metric if metric is not None else self._metric
        if chosen is None and len(self._values) == 1:
            return next(iter(self._values))
        if chosen is None:
            raise DataError("by which metric?", hint=f'such as .best("{next(iter(self._values), "auc")}")')
        if chosen not in self._values:
            self._values[chosen] = values_of(self._noun, list(self._runs.values()), metric_field(chosen))
            for one in self.groups:
                one.metrics[chosen] = mean_of([self._values[chosen].get(run) for run in one.runs])
        return chosen

    def _title(self) -> str:
        count = sum(len(one.runs) for one in self.groups)
        return f"{len(self.groups)} groups of {count} runs by {', '.join(self.by)}; means with 95 % intervals"

    def _table(self) -> list[list[str]]:
        metrics = list(self._values)[:_METRICS]
        rows = [["group", "runs", *metrics]]
        rows += [
            [one.name, str(len(one.runs)), *(_spelled(one.metrics[name]) for name in metrics)]
            for one in self.groups[:_ROWS]
        ]
        if len(self.groups) > _ROWS or len(self._values) > _METRICS:
            rows.append(["... .to_frame() has them all", "", *[""] * len(metrics)])
        return rows

    def _notes(self) -> list[str]:
        notes = []
        if any(len(one.runs) == 1 for one in self.groups):
            notes.append("one run gives no interval: run each configuration with several seeds")
        left_out = sum(mean.left_out for one in self.groups for mean in one.metrics.values())
        if left_out:
            notes.append(f"{left_out} values are NaN and in no mean")
        if self.without:
            notes.append(f"{self.without} runs have no {' and '.join(self.by)}")
        if self._metric is not None and len(self.groups) > 1:
            with suppress(DataError):  # it is a number in none of them
                notes.append(self.best().note())
        return notes


def compare_groups(
    noun: Runs, runs: Sequence[Run], by: str | Sequence[str], metric: str | None = None
) -> GroupComparison:
    """Compare groups of runs.

    Args:
        noun: The workspace's runs.
        runs: Those to compare.
        by: Fields that runs of a group have in common, such as "group" or ["params.depth", "params.rate"].
        metric: The only metric to compare, such as "auc" or "auc.best"; None for the last values of all.

    Raises:
        DataError: If runs cannot be grouped by that, or none has it.
        NotFoundError: If none of the runs has the metric.
    """
    fields = [parse_field(one) for one in ([by] if isinstance(by, str) else by)]
    if not fields:
        raise DataError("by is empty", hint='such as by="group" or by="params.depth"')
    for field in fields:
        if field.group == "metrics" or (field.group == "run" and field.name not in _OF_RUN):
            raise DataError(
                f"runs are not grouped by {_title(field)}",
                hint=f"use params, tags, packages or machine, or {', '.join(_OF_RUN)}",
            )
    found = GroupComparison(noun, runs, fields, metric)
    if not found.groups:
        raise DataError(f"none of the {len(runs)} runs has {', '.join(found.by)}", hint="start_run(..., group=...)")
    return found


def _members(
    noun: Runs, runs: Sequence[Run], by: Sequence[Field]
) -> tuple[dict[tuple[tuple[type, Any], ...], list[str]], int]:
    """Return the runs of each group; the key has types, as True and 1 are one key of a dict."""
    experiments = {one.id: one.name for one in noun.experiments(deleted=None)}
    found: dict[tuple[tuple[type, Any], ...], list[str]] = {}
    without = 0
    for run in runs:
        values = [_value(run, field, experiments) for field in by]
        if all(value is None for value in values):
            without += 1
        else:
            found.setdefault(tuple((type(value), value) for value in values), []).append(run.id)
    return found, without


def _value(run: Run, field: Field, experiments: dict[int | None, str]) -> Any:
    if field.group != "run":
        return getattr(run, field.group).get(field.name)
    return experiments.get(run.experiment) if field.name == "experiment" else getattr(run, field.name)


def _group(
    by: Sequence[str], key: tuple[tuple[type, Any], ...], ids: list[str], values: dict[str, dict[str, float]]
) -> Group:
    found = {name: value for name, (_, value) in zip(by, key, strict=True)}
    name = (
        str(next(iter(found.values())))
        if len(found) == 1
        else ", ".join(f"{title.rpartition('.')[2]}={value}" for title, value in found.items())
    )
    metrics = {metric: mean_of([of_run.get(run) for run in ids]) for metric, of_run in values.items()}
    return Group(name, found, ids, metrics)


def _rank(mean: float | None, goal: str) -> float:
    if mean is None or math.isnan(mean):
        return math.inf
    return mean if goal == "min" else -mean


def _title(field: Field) -> str:
    return field.name if field.group == "run" else f"{field.group}.{field.name}"


def _spelled(mean: Mean) -> str:
    if mean.mean is None:
        return ""
    if mean.low is None or mean.high is None:
        return f"{mean.mean:.4g} (n={mean.n})"
    return f"{mean.mean:.4g} [{mean.low:.4g}, {mean.high:.4g}] (n={mean.n})"
