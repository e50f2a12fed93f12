"""The logged predictions of a model version and their outcomes, counted page by page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import polars as pl

from tinymlops.monitoring.drift import DriftCounter
from tinymlops.records import Evaluation, Signature
from tinymlops.training.evaluation import metrics_for

if TYPE_CHECKING:
    from tinymlops.monitoring.coming import ComingCounter
    from tinymlops.registry.predictions import ServedRow
    from tinymlops.training.baseline import Baseline

__all__ = ["Period", "Served"]

_ANSWERS = ("prediction", "probability", "probabilities")


class Period(NamedTuple):
    """A range of prediction times, microseconds UTC: from the first on, before the second."""

    since: int = -(2**63)
    until: int = 2**63 - 1


class Served:
    """Counts of predictions, and the data for metrics and drift.

    Args:
        signature: The model's signature.
        baseline: The histograms of its training rows, if there are any.
        known: Prediction id to the outcome, for predictions without a stored one.
        coming: Counts those whose outcome is not known.
    """

    def __init__(
        self,
        signature: Signature,
        baseline: Baseline | None,
        known: Mapping[str, float | str | None],
        coming: ComingCounter,
    ) -> None:
        self._signature = signature
        self._known = known
        self._coming = coming
        self._classes = {value: value for value in signature.classes or []}
        self._outcomes: list[Any] = []
        self._outputs: list[dict[str, Any]] = []
        histograms = baseline.features if baseline is not None else {}
        self.features = {name: DriftCounter(histogram) for name, histogram in histograms.items()}
        prediction = baseline.prediction if baseline is not None else None
        self.prediction = DriftCounter(prediction) if prediction is not None else None
        self.predictions = self.waiting = self.no_outcome = self.unfit = 0
        self.first: int | None = None
        self.last: int | None = None

    def add(self, page: list[ServedRow]) -> None:
        """Count one page of `registry.predictions.pages_of_served`."""
        features, outputs = _maps(row.features for row in page), _maps(row.output for row in page)
        for name, counter in self.features.items():
            counter.add([values.get(name) for values in features])
        if self.prediction is not None:
            self.prediction.add([output.get("probability", output["prediction"]) for output in outputs])
        self.predictions += len(page)
        self.first = page[0].at if self.first is None else self.first
        self.last = page[-1].at
        for row, output in zip(page, outputs, strict=True):
            if row.has_outcome:
                self._add_outcome(row.outcome, output)
            elif row.id in self._known:
                self._add_outcome(self._known[row.id], output)
            else:
                self.waiting += 1
                self._coming.add(row.at)

    def evaluation(self) -> Evaluation:
        """Compare the predictions with their outcomes, by the metrics of training."""
        signature = self._signature
        y = pl.Series("y", self._outcomes, dtype=pl.Float64 if signature.task == "regression" else None, strict=False)
        columns = {
            name: [output.get(name) for output in self._outputs]
            for name in _ANSWERS
            if any(name in output for output in self._outputs[:1])
        }
        predictions = pl.DataFrame(columns, strict=False)
        return Evaluation("live", len(y), metrics_for(signature.task, y, predictions, signature.classes))

    def _add_outcome(self, value: float | str | None, output: dict[str, Any]) -> None:
        if value is None:
            self.no_outcome += 1
        elif isinstance(value, str) if self._signature.task == "regression" else value not in self._classes:
            self.unfit += 1
        else:
            # 1 is stored for the class True.
            self._outcomes.append(self._classes.get(value, value))
            self._outputs.append(output)


def _maps(texts: Iterator[str]) -> list[dict[str, Any]]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    return [decode(text) for text in texts]
