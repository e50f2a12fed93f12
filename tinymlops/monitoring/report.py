"""`monitor`: compare a model version's predictions with the outcomes, and its features with those of training."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

import msgspec

from tinymlops.monitoring.drift import Drift, drifts_of
from tinymlops.monitoring.served import Period, Served
from tinymlops.notebook import in_notebook
from tinymlops.records import Evaluation
from tinymlops.registry.predictions import pages_of_served
from tinymlops.serving.outcomes import mature_outcomes
from tinymlops.tables import html_table, text_table
from tinymlops.times import from_micros, parse_instant, parse_zone, to_micros
from tinymlops.training.baseline import read_baseline

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.serving.model import Model

__all__ = ["MonitorReport", "monitor"]


class MonitorReport(msgspec.Struct, frozen=True, kw_only=True):
    """The report on a model version in use."""

    model: str
    version: int
    first_at: datetime | None
    """Time of the first prediction; None without any."""
    last_at: datetime | None
    predictions: int
    with_outcome: int
    no_outcome: int
    """Predictions that are known to have no outcome, such as for a cancelled flight."""
    waiting: int
    """Predictions whose outcome is not known yet."""
    unfit: int
    """Predictions whose outcome is not one of the model's classes, or not a number; left out of the metrics."""
    live: Evaluation
    """The metrics of the predictions that have an outcome."""
    trained: Evaluation | None
    """The metrics of the test rows, or of the training rows if there were no others."""
    training_rows: int
    """The rows behind the histograms of training; 0 without them."""
    prediction: Drift | None
    """The drift of the probability, or of the prediction where there is none."""
    features: list[Drift]
    """The largest unexplained drift first."""

    def __str__(self) -> str:
        parts = [self._title, self._outcomes, "", text_table(self._metrics, numbers=True)]
        if self.training_rows:
            parts += ["", text_table(self._drifts, numbers=True), self._note]
        return "\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        shown = html_table(f"{self._title}; {self._outcomes}", self._metrics)
        return in_notebook(shown, html_table(self._note, self._drifts) if self.training_rows else "")

    @property
    def _title(self) -> str:
        if self.first_at is None or self.last_at is None:
            return f"{self.model}:{self.version}, no predictions"
        return (
            f"{self.model}:{self.version}, {self.predictions:,} predictions from "
            f"{self.first_at:%Y-%m-%d %H:%M} to {self.last_at:%Y-%m-%d %H:%M} UTC"
        )

    @property
    def _outcomes(self) -> str:
        unfit = f", {self.unfit:,} that the model cannot give" if self.unfit else ""
        return (
            f"outcomes: {self.with_outcome:,} known, {self.no_outcome:,} without one, {self.waiting:,} waiting{unfit}"
        )

    @property
    def _metrics(self) -> list[list[str]]:
        trained = self.trained.metrics if self.trained is not None else {}
        header = ["metric", f"live ({self.live.rows:,} rows)"]
        header += [f"{self.trained.split} ({self.trained.rows:,} rows)"] if self.trained is not None else []
        names = dict.fromkeys([*trained, *self.live.metrics])
        sides = [self.live.metrics, trained][: len(header) - 1]
        return [header, *([name, *(_number(side.get(name)) for side in sides)] for name in names)]

    @property
    def _drifts(self) -> list[list[str]]:
        prediction = [self.prediction] if self.prediction is not None else []
        return [
            ["column", "null now", "in training", "PSI", "noise", ""],
            *(
                [
                    drift.name,
                    _share(drift.null_rate),
                    _share(drift.training_null_rate),
                    _number(drift.psi),
                    _number(drift.noise),
                    drift.reading,
                ]
                for drift in [*prediction, *self.features]
            ),
        ]

    @property
    def _note(self) -> str:
        return (
            f"noise: the PSI that {self.predictions:,} rows beside {self.training_rows:,} of training show without any "
            "drift; above it, 0.1 is some drift and 0.25 a shift"
        )


def monitor(
    context: Context,
    model: Model,
    *,
    since: datetime | date | str | None = None,
    until: datetime | date | str | None = None,
) -> MonitorReport:
    """Compare a version's logged predictions with what happened, and their features with the training rows.

    Outcomes that the label's source has by now count as if they were stored; nothing is written.

    Args:
        context: The workspace's state.
        model: The model version.
        since: Only predictions from this time on; a date is midnight in the project's zone.
        until: Only predictions before this time.
    """
    period = _period(model, since, until)
    known = mature_outcomes(context, model)
    record, environment = model.manifest.model, context.environment
    sha256 = record.baseline_sha256
    baseline = read_baseline(environment.blobs.read(sha256)) if sha256 is not None else None
    served = Served(model.signature, baseline, known)
    for page in pages_of_served(
        environment.database, model.name, model.version, since=period.since, until=period.until
    ):
        served.add(page)
    live = served.evaluation()
    return MonitorReport(
        model=model.name,
        version=model.version,
        first_at=None if served.first is None else from_micros(served.first),
        last_at=None if served.last is None else from_micros(served.last),
        predictions=served.predictions,
        with_outcome=live.rows,
        no_outcome=served.no_outcome,
        waiting=served.waiting,
        unfit=served.unfit,
        live=live,
        trained=record.evaluation,
        training_rows=baseline.rows if baseline is not None else 0,
        prediction=served.prediction.drift("prediction") if served.prediction is not None else None,
        features=drifts_of(served.features.items()),
    )


def _period(model: Model, since: datetime | date | str | None, until: datetime | date | str | None) -> Period:
    zone = parse_zone(model.training_set.tz)
    given = {"since": since, "until": until}
    return Period(
        **{
            name: to_micros(parse_instant(moment, name=name, zone=zone))
            for name, moment in given.items()
            if moment is not None
        }
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
