"""What a sweep found: its trials, the best one first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import DataError, NotFoundError
from tinymlops.goals import Goal
from tinymlops.notebook import in_notebook
from tinymlops.records import Scalar
from tinymlops.tables import html_table, text_table

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.registry.runs import Runs

__all__ = ["KIND", "NUMBER", "Sweep", "Trial", "sweep_of", "trials_under"]

KIND = "tinymlops.kind"
"""The tag of the run that all trials are under."""
NUMBER = "sweep.trial"
"""The tag that holds the number of a trial."""
_PRUNED = "sweep.pruned"
_SHOWN = 10


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One trial of a sweep."""

    number: int
    run: str
    state: str
    """`finished`, `pruned`, `failed`, `killed`, `lost`, `running`, or `trashed`."""
    value: float | None
    params: dict[str, Scalar]
    error: str | None = None

    @property
    def counts(self) -> bool:
        """Whether it is one of those that the sweep is to have: in place of one that was broken off comes another."""
        return self.state not in ("lost", "killed", "trashed")


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep found, the best trial first."""

    run: str
    name: str
    metric: str
    goal: Goal
    trials: list[Trial]

    @property
    def values(self) -> list[float]:
        """The values of the trials that finished, the best first."""
        return [trial.value for trial in self.trials if trial.value is not None]

    @property
    def best(self) -> BestTrial:
        """The best trial.

        Raises:
            DataError: If none has finished.
        """
        first = next((trial for trial in self.trials if trial.value is not None), None)
        if first is None or first.value is None:
            failed = next((trial for trial in self.trials if trial.error), None)
            raise DataError(
                f"no trial of sweep {self.name!r} has finished" + (f": {failed.error}" if failed is not None else ""),
                hint="run more trials",
            )
        return BestTrial(number=first.number, run=first.run, value=first.value, params=first.params)

    def __repr__(self) -> str:
        names = sorted({name for trial in self.trials for name in trial.params})
        rows = [["trial", "state", self.metric, *names]]
        rows += [
            [str(trial.number), trial.state, _text(trial.value), *(_text(trial.params.get(name)) for name in names)]
            for trial in self.trials[:_SHOWN]
        ]
        more = len(self.trials) - _SHOWN
        lines = [self._title(), text_table(rows), *([f"and {more} more"] if more > 0 else [])]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            (str(trial.number), trial.state, _text(trial.value), str(trial.params)) for trial in self.trials[:_SHOWN]
        ]
        return in_notebook(html_table(self._title(), rows))

    def to_frame(self) -> pl.DataFrame:
        """Return a row for each trial, the best first, with a column for each parameter, as a Polars frame."""
        import polars as pl

        names = sorted({name for trial in self.trials for name in trial.params})
        fixed = {
            "number": pl.Series([trial.number for trial in self.trials], dtype=pl.Int64),
            "run": pl.Series([trial.run for trial in self.trials], dtype=pl.String),
            "state": pl.Series([trial.state for trial in self.trials], dtype=pl.String),
            self.metric: pl.Series([trial.value for trial in self.trials], dtype=pl.Float64),
        }
        given = {f"params.{name}": _column([trial.params.get(name) for trial in self.trials]) for name in names}
        return pl.DataFrame({**fixed, **given})

    def _title(self) -> str:
        counts = {state: sum(trial.state == state for trial in self.trials) for state in _STATES}
        said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        return f"sweep {self.name}: {said or 'no trials'}; {self.metric}, {'least' if self.goal == 'min' else 'greatest'} first"


class BestTrial(msgspec.Struct, frozen=True, kw_only=True):
    """The trial with the best value."""

    number: int
    run: str
    value: float
    params: dict[str, Scalar]


_STATES = ("finished", "pruned", "failed", "killed", "lost", "running")


def sweep_of(runs: Runs, reference: str) -> Sweep:
    """Return what a sweep has found so far.

    Raises:
        NotFoundError: If the run is not that of a sweep.
    """
    parent = runs.get(reference)
    goal = parent.params.get("goal")
    if parent.tags.get(KIND) != "sweep" or goal not in ("min", "max"):
        raise NotFoundError(f"run {parent.name!r} is not that of a sweep", hint="pass the run that ws.sweep began")
    sign = 1 if goal == "min" else -1
    trials = [trial for trial in trials_under(runs, parent.id) if trial.state != "trashed"]
    trials.sort(key=lambda one: (one.value is None, sign * (one.value or 0.0), one.number))
    return Sweep(
        run=parent.id,
        name=parent.name,
        metric=str(parent.params["metric"]),
        goal="min" if goal == "min" else "max",
        trials=trials,
    )


def trials_under(runs: Runs, parent: str) -> list[Trial]:
    """Return the trials of a sweep, in the order of their numbers."""
    metric = str(runs.get(parent).params["metric"])
    found = []
    for run in runs.children(parent):
        if NUMBER not in run.tags:
            continue
        state = "pruned" if _PRUNED in run.tags and run.status == "finished" else run.status
        state = "trashed" if run.deleted_at is not None else state
        value = run.metrics.get(metric) if state == "finished" else None
        found.append(
            Trial(
                number=int(run.tags[NUMBER]),
                run=run.id,
                state=state,
                value=value,
                params=run.params,
                error=run.error,
            )
        )
    return sorted(found, key=lambda one: one.number)


def _text(value: Scalar) -> str:
    return "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)


def _column(values: list[Scalar]) -> pl.Series:
    import polars as pl

    return pl.Series(values, strict=False)
