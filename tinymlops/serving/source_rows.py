"""The source rows behind the features of a logged prediction: by its time, its sequence, and the definitions of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tinymlops.errors import TinyMLOpsError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.specs import OnDemandSpec, SourceSpec
from tinymlops.features.history.reading_notes import rows_of
from tinymlops.features.history.stored import segments_of, stored_rows
from tinymlops.features.law.behind import BehindView, columns_behind, rows_behind
from tinymlops.serving.model import describe_model
from tinymlops.serving.request import read_rows
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.features.definitions.specs import FeatureRequest
    from tinymlops.records import Prediction
    from tinymlops.registry.models import Models

__all__ = ["FromView", "MadeOf", "source_rows"]


class FromView(NamedTuple):
    """What one view gave a prediction."""

    title: str
    prefix: str
    """Of its role, such as `dest_`."""
    view: str
    source: str
    behind: BehindView | None
    """None where the rows were not read."""
    many: int
    """The rows of the source, if these were too many to be read unasked; else 0."""
    problem: str
    """Why the rows cannot be told; else empty."""


class MadeOf(NamedTuple):
    """What the features of a prediction were made of."""

    views: list[FromView]
    on_demand: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    """On-demand view to the views and the fields of the request that it is computed from."""


def source_rows(
    context: Context, models: Models, prediction: Prediction, *, most: int, whole: Sequence[str] = ()
) -> MadeOf:
    """Return the source rows that a logged prediction was made from.

    Rows are those that were stored at the prediction's sequence and could be known at its time.

    Args:
        context: The workspace's state.
        models: The registry.
        prediction: One whose features were read, not sent.
        most: Rows that are read unasked, of all sources together.
        whole: Views whose source is read however many rows it has.

    Raises:
        NotFoundError: If the model's version is gone.
        IntegrityError: If its manifest is missing or damaged.
    """
    assert prediction.sequence is not None, "the features of this prediction were sent with the request"
    model = describe_model(models, f"{prediction.model}:{prediction.version}", places=context.definitions.places)
    requests, pinned = model.training_set.features, model.context(context)
    asked = _Asked(read_rows(model, [prediction.request]), to_micros(prediction.at), model.training_set.spine)
    views = [one for one in requests if not one.on_demand]
    past = _Past(pinned, views, prediction.sequence, most)
    computed = {}
    for request in requests:
        if request.on_demand:
            spec = pinned.definitions.for_request(request).get(OnDemandSpec, request.view)
            computed[title_of(request)] = (spec.views, spec.request)
    return MadeOf([_from_view(pinned, one, asked, past, whole) for one in views], computed)


class _Asked(NamedTuple):
    """The row of a spine that a prediction is."""

    spine: pl.DataFrame
    time: int
    """Microseconds UTC."""
    source: str
    """What the spine of the training set came from."""


class _Past:
    """The rows of sources as of a sequence: each is read once, with the columns that all views of it read."""

    def __init__(self, context: Context, requests: Sequence[FeatureRequest], as_of: int, most: int) -> None:
        self._as_of, self._left = as_of, most
        self._columns: dict[tuple[Definitions, str], dict[str, None]] = {}
        self._rows: dict[tuple[Definitions, str], pl.DataFrame] = {}
        for request in requests:
            source, columns = columns_behind(context, request)
            name = (context.for_request(request).definitions, source)
            self._columns.setdefault(name, {}).update(dict.fromkeys(columns))

    def too_many(self, reader: Context, source: str) -> int:
        """Return how many rows a source has, if these are more than may be read unasked; else 0."""
        origin = graph.origin(reader.definitions, reader.definitions.get(SourceSpec, source))
        many = rows_of(reader, origin, segments_of(reader, origin))
        return many if (reader.definitions, source) not in self._rows and many > self._left else 0

    def rows(self, reader: Context, source: str) -> pl.DataFrame:
        """Return the rows of a source."""
        name = (reader.definitions, source)
        if name not in self._rows:
            self._rows[name] = stored_rows(reader, source, list(self._columns[name]), as_of=self._as_of)
            self._left -= self._rows[name].height
        return self._rows[name]


def _from_view(context: Context, request: FeatureRequest, asked: _Asked, past: _Past, whole: Sequence[str]) -> FromView:
    reader = context.for_request(request)
    source, _ = columns_behind(context, request)
    origin = graph.origin(reader.definitions, reader.definitions.get(SourceSpec, source))
    found = FromView(title_of(request), request.prefix, request.view, source, None, 0, "")
    if origin.in_place:
        return found._replace(problem=f"the rows of {origin.name} are read in place and not stored")
    try:
        many = 0 if found.title in whole else past.too_many(reader, source)
        if many:
            return found._replace(many=many)
        rows = past.rows(reader, source)
        behind = rows_behind(context, request, asked.spine, asked.time, rows, spine_source=asked.source)
    except TinyMLOpsError as error:
        return found._replace(problem=error.message)
    return found._replace(behind=behind)
