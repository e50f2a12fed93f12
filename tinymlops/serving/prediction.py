"""`predict`: read the present features, answer, and log the answer with the features it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from tinymlops.features.online.reading import OnlineFeatures, read_features
from tinymlops.flat import flat
from tinymlops.notebook import in_notebook
from tinymlops.records import Prediction
from tinymlops.serving.log import identifiers
from tinymlops.serving.request import has_features, json_rows, read_rows
from tinymlops.signature import cast
from tinymlops.tables import html_frame
from tinymlops.times import from_micros

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.frames import Frame
    from tinymlops.serving.log import PredictionLog
    from tinymlops.serving.model import Model
    from tinymlops.serving.one_row import ReadRow

__all__ = ["Predictions", "features_of", "predict", "read_online"]

Row = dict[str, Any]
_STATUS = "_status"


class Predictions(Sequence[Row]):
    """The answers, one dict for each row: `id`, `prediction`, `probability` or `probabilities`, and if requested `status`.

    Attributes:
        model: The model's name.
        version: Its version.
        timestamp: `t`, the clock's time at which the features were read.
        sequence: `Q`, which the online store covered; None where full rows of features were sent.
    """

    def __init__(self, model: Model, timestamp: datetime, sequence: int | None, rows: list[Row]) -> None:
        self.model = model.name
        self.version = model.version
        self.timestamp = timestamp
        self.sequence = sequence
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self._rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def to_rows(self) -> list[Row]:
        """Return the answers, in order, as values that JSON can carry."""
        return self._rows

    def to_polars(self) -> pl.DataFrame:
        """Return a Polars frame, a row for each answer."""
        import polars as pl

        return pl.DataFrame(self._rows, infer_schema_length=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole answer as values that JSON can carry."""
        return {
            "model": self.model,
            "version": self.version,
            "timestamp": self.timestamp.isoformat(),
            "sequence": self.sequence,
            "predictions": self._rows,
        }

    def __repr__(self) -> str:
        return f"<{self._title}>\n{self.to_polars()}"

    def _repr_html_(self) -> str:
        return in_notebook(html_frame(self._title, self.to_polars()))

    @property
    def _title(self) -> str:
        covered = "" if self.sequence is None else f", Q={self.sequence}"
        return f"{len(self)} predictions of {self.model}:{self.version} at {self.timestamp.isoformat()}{covered}"


def predict(
    context: Context,
    model: Model,
    rows: Frame,
    log: PredictionLog,
    *,
    row: ReadRow | None = None,
    details: bool,
    sync: bool,
    request_id: str | None = None,
) -> Predictions:
    """Answer as of the clock's time, and log the answers.

    Args:
        context: The workspace's state.
        model: The model; its features are read by the definitions it was trained with.
        rows: Entity keys and request fields, or full rows of features; other columns are logged with the request.
        log: The log of predictions.
        row: The one row that was sent, if its features were read already.
        details: Add the status of each feature.
        sync: Return only once the predictions are durable.
        request_id: What the ids of the answers are made of, as `identifiers` says.

    Raises:
        DataError: If a column is missing or has the wrong type; it names the column.
    """
    output = None if row is None else row.answer()
    if row is not None and output is not None:
        answered = _Answered(from_micros(row.now), row.sequence, [row.request], [row.features], [output])
        return _logged(model, answered, log, request_id, sync=sync)
    sent = read_rows(model, rows)
    if has_features(model.signature, sent.columns):
        timestamp, sequence, served = from_micros(context.now()), None, sent
    else:
        read = read_online(context, model, sent, details=details)
        timestamp, sequence, served = read.timestamp, read.sequence, read.to_polars()
    features = features_of(model, served)
    requests = json_rows(sent.drop(features.columns, strict=False))
    outputs = json_rows(model.predict(features))
    answered = _Answered(timestamp, sequence, requests, json_rows(features), outputs)
    answers = _logged(model, answered, log, request_id, sync=sync)
    if details:
        for answer, status in zip(answers, _statuses(served, features.columns), strict=True):
            answer["status"] = status
    return answers


class _Answered(NamedTuple):
    """Answers and their requests and features, as values that JSON can carry: a dict for each row."""

    timestamp: datetime
    sequence: int | None
    requests: list[Row]
    features: list[Row]
    outputs: list[Row]


def _logged(
    model: Model, answered: _Answered, log: PredictionLog, request_id: str | None, *, sync: bool
) -> Predictions:
    """Log answers, each with an id; return them with their ids."""
    timestamp, sequence, requests, features, outputs = answered
    logged = [
        Prediction(
            id=identifier,
            model=model.name,
            version=model.version,
            at=timestamp,
            sequence=sequence,
            request=request,
            features=values,
            output=output,
        )
        for identifier, request, values, output in zip(
            identifiers(len(outputs), request_id), requests, features, outputs, strict=True
        )
    ]
    log.append(logged, sync=sync)
    answers = [{"id": prediction.id, **prediction.output} for prediction in logged]
    return Predictions(model, timestamp, sequence, answers)


def read_online(context: Context, model: Model, request: pl.DataFrame, *, details: bool = False) -> OnlineFeatures:
    """Read a model's features as of the clock's time.

    A view that shares a source with the training set's spine sees only what was known strictly before that time, as
    it did in training.

    Args:
        context: The workspace's state.
        model: The model.
        request: Keys and request fields, as `read_rows` returns them.
        details: Add `<feature>_status` and `<feature>_event_time`.
    """
    asked = model.training_set
    return read_features(model.context(context), request, asked.features, spine_source=asked.spine, details=details)


def features_of(model: Model, served: pl.DataFrame) -> pl.DataFrame:
    """Return a frame's features in the model's types; a string stays a string, even one that training did not have."""
    import polars as pl

    text = [field.name for field in model.signature.features if field.dtype == "Enum"]
    served = flat(served)
    return cast(served, model.signature).with_columns(served[name].cast(pl.String) for name in text)


def _statuses(served: pl.DataFrame, features: Sequence[str]) -> list[dict[str, str]]:
    """Return the status of each feature that was read, for each row."""
    import polars as pl

    vectors = [name for name in served.columns if f"{name}_0" in features and name not in features]
    found = [pl.col(name + _STATUS).alias(name) for name in (*features, *vectors) if name + _STATUS in served.columns]
    return served.select(found).to_dicts() if found else [{} for _ in range(served.height)]
