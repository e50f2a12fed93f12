"""Leaks that values show: one feature that knows the outcome, and cells that hold what was corrected after their time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import polars as pl

from tinymlops.features.compute.views import plan_view
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.definitions import Definitions
from tinymlops.features.definitions.specs import OnDemandSpec, SourceSpec, ViewSpec
from tinymlops.features.history.historical import FeatureColumns, in_order
from tinymlops.features.law.past import StoredPast, past_of
from tinymlops.features.law.visible import of_rows, visible
from tinymlops.findings import Finding
from tinymlops.times import to_micros

if TYPE_CHECKING:
    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import FeatureRequest
    from tinymlops.features.history.knowledge_report import Knowledge
    from tinymlops.features.law.assembled import Assembled
    from tinymlops.records import FittedModel

__all__ = ["corrected_cells", "corrected_later", "fitted_later", "single_features"]

_TOO_GOOD, _NEARLY = 0.98, 0.97
_LEAST = 50
"""Rows of each outcome below which one feature may part them by chance."""
_SAMPLED = 20_000
"""Rows that a first look takes; only features that come near are looked at whole."""
_CATEGORIES = 50
"""Categories beyond which the outcome's mean of each is learned by heart."""


def single_features(name: str, X: Mapping[str, pl.Series], y: pl.Series) -> list[Finding]:
    """Find features that alone part the two outcomes of a label almost without a mistake.

    Args:
        name: Of the training set.
        X: Its features, m values each.
        y: m outcomes; null where there is none. Of other than two values nothing is found.

    Example:
        >>> y = pl.Series("late", [False, True] * 60)
        >>> [str(one.name) for one in single_features("delays", {"taxi": y.cast(pl.Int64) * 5, "hour": y.shift(1)}, y)]
        ['auc:delays.hour', 'auc:delays.taxi']
    """
    known = y.is_not_null()
    values = y.drop_nulls().unique().sort()
    if len(values) != 2 or values.dtype.is_nested():
        return []
    positive = y.filter(known) == values[1]
    if min(int(positive.sum()), int((~positive).sum())) < _LEAST:
        return []
    step = max(1, positive.len() // _SAMPLED)
    found = []
    for feature in sorted(X):
        column = X[feature].filter(known)
        if step > 1 and _auc(column.gather_every(step), positive.gather_every(step)) < _NEARLY:
            continue
        auc = _auc(column, positive)
        if auc >= _TOO_GOOD:
            found.append(
                Finding(
                    rule="auc",
                    level="warning",
                    where=f"{name}.{feature}",
                    feature=feature,
                    rows=positive.len(),
                    message=f"{feature!r} alone tells {y.name!r} with an AUC of {auc:.4f}: it may be the outcome itself",
                    fix="look when and from what it is known; if it is known before the prediction, allow it with the reason",
                )
            )
    return found


def _auc(column: pl.Series, positive: pl.Series) -> float:
    """Return how well a column parts two outcomes: by its values, or by whether it has one; the better of the two."""
    missing = column.is_null()
    best = _part(missing.cast(pl.Int64), positive) if missing.any() else 0.0
    column, positive = column.filter(~missing), positive.filter(~missing)
    if column.dtype == pl.String or isinstance(column.dtype, pl.Enum | pl.Categorical):
        if column.n_unique() > _CATEGORIES:
            return best
        table = pl.DataFrame({"category": column, "positive": positive})
        column = table.select(pl.col("positive").mean().over("category")).to_series()
    elif column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Null):
        return best
    return max(best, _part(column.to_physical(), positive))


def _part(values: pl.Series, positive: pl.Series) -> float:
    """Return the area under the curve of a column, whichever way it points; 0.5 where one outcome is rare."""
    above, below = int(positive.sum()), int((~positive).sum())
    if min(above, below) < _LEAST // 2:
        return 0.5
    ranks = values.rank("average").filter(positive).sum()
    area = (float(ranks) - above * (above + 1) / 2) / (above * below)
    return max(area, 1 - area)


def corrected_cells(name: str, knowledge: Mapping[str, Knowledge]) -> Iterator[Finding]:
    """Tell from a build's report which views hold what was corrected after the rows' times."""
    for view, known in knowledge.items():
        if known.known == "latest" and known.cells_changed:
            yield _corrected(name, view, f"{known.cells_changed:,} cells of view {view!r} hold", {})


def corrected_later(context: Context, built: Assembled, rows: Sequence[int]) -> list[Finding]:
    """Find cells of sources that are read by their final version, which became known after the row's time.

    Args:
        context: The workspace's state.
        built: The training set.
        rows: The numbers of the spine rows to look at.
    """
    found: dict[str, Finding] = {}
    for request in built.spec.features if rows else ():
        of_request = _of_neighbours if request.on_demand else _of_view
        for one in of_request(context, built, request, rows):
            found.setdefault(one.name, one)
    return list(found.values())


def _of_neighbours(
    context: Context, built: Assembled, request: FeatureRequest, rows: Sequence[int]
) -> Iterator[Finding]:
    reader = context.for_request(request).definitions
    on_demand = reader.get(OnDemandSpec, request.view)
    read = graph.neighbours_under(reader, on_demand)
    origins = [graph.origin(reader, reader.get(SourceSpec, one.source)) for one in read]
    final = {one.name for one in origins if _is_read_by_final_version(one)}
    if not final or request.version is not msgspec.UNSET:
        return
    observed = [
        msgspec.structs.replace(one, known="observed") if isinstance(one, SourceSpec) and one.name in final else one
        for one in reader.all
    ]
    then = in_order(
        context.with_definitions(Definitions(observed, places=reader.places, fitted=reader.fitted)),
        built.spine[rows],
        built.time[rows],
        [request],
        FeatureColumns({}, {}, {}, {}),
        spine_source=built.spec.spine,
        as_of=built.sequence,
    )
    for name, known in then.columns.items():
        differs = built.table.columns[name][rows].ne_missing(known)
        if differs.any():
            at = int(differs.arg_true()[0])
            value = built.table.columns[name][rows[at]]
            said = f"{name!r} of on-demand view {request.view!r} is {value!r}, was {known[at]!r} then, and holds of neighbours"
            shown = {"feature": name, "row": built.described(rows[at], on_demand.request), "rows": int(differs.sum())}
            yield _corrected(built.spec.name, request.view, said, shown)


def _is_read_by_final_version(source: SourceSpec) -> bool:
    """Return whether a source's rows are read as they became; of rows in place nobody saw a change."""
    is_of_events = source.id is not None and source.timestamp is not None
    return source.knowledge == "latest" and is_of_events and not source.inputs and not source.in_place


def _of_view(context: Context, built: Assembled, request: FeatureRequest, rows: Sequence[int]) -> Iterator[Finding]:
    plan = plan_view(context.definitions, request, spine_source=built.spec.spine)
    context = context.for_request(request)
    view = context.definitions.get(ViewSpec, request.view)
    source = context.definitions.get(SourceSpec, view.source)
    origin = graph.origin(context.definitions, source)
    if not _is_read_by_final_version(origin):
        return
    observed = msgspec.structs.replace(origin, known="observed")
    definitions = Definitions([observed if spec is origin else spec for spec in context.definitions.all])
    plan = msgspec.structs.replace(plan, source=observed)
    source = definitions.get(SourceSpec, view.source)
    past = past_of(
        context.with_definitions(definitions), source, plan, built.spine[rows], built.time[rows], built.sequence
    )
    assert isinstance(past, StoredPast), "it is no rebuilt one"
    for name, known in past.replayed().items():
        differs = built.table.read(name)[rows].ne_missing(known)
        if differs.any():
            at = int(differs.arg_true()[0])
            shown = {
                "feature": name,
                "row": built.described(rows[at], plan.on),
                "record": _late_record(past, origin, at),
                "rows": int(differs.sum()),
            }
            said = f"{name!r} of view {view.name!r} is {built.table.read(name)[rows[at]]!r}, was {known[at]!r} then, and holds"
            yield _corrected(built.spec.name, view.name, said, shown)


def _late_record(past: StoredPast, origin: SourceSpec, row: int) -> dict[str, Any] | None:
    """Describe the record that a row sees by its final version, and did not at its time."""
    final = of_rows(past.rows.with_columns(pl.lit(None, pl.Int64).alias("__created")), origin)
    seen = set(past.seen(row))
    late = [
        place
        for place in visible(final, past.places_of(row), past.times[row], strict=past.plan.strict)
        if place not in seen
    ]
    return past.described(max(late, key=final.order.__getitem__)) if late else None


def fitted_later(name: str, models: Mapping[str, FittedModel], times: Array) -> Iterator[Finding]:
    """Find embeddings that were fitted on texts which came after rows of a training set.

    Args:
        name: Of the training set.
        models: Embedding to the model that made its vectors.
        times: int64[m], the times of the rows, microseconds UTC.
    """
    for embedding, model in models.items():
        fitted_at = None if model.fitted_at is None else to_micros(model.fitted_at)
        before = 0 if fitted_at is None else int((times < fitted_at).sum())
        if before:
            yield Finding(
                rule="fitted-later",
                level="warning",
                where=f"{name}.{embedding}",
                rows=before,
                message=f"embedding {embedding!r} was fitted on the texts known at {model.fitted_at:%Y-%m-%d %H:%M}Z, after "
                f"{before:,} of {times.size:,} rows: the weights of words in these rows know texts that came later",
                fix='write fitted_at="...", a time before the rows that a model is tested on, apply, and follow',
            )


def _corrected(training_set: str, view: str, said: str, shown: Mapping[str, Any]) -> Finding:
    return Finding(
        rule="corrected-later",
        level="leak",
        where=f"{training_set}.{view}",
        message=f"{said} what was corrected after the row's time, for its source is read by its final version",
        fix='leave known="latest" out of the source, or declare created=: a correction then counts from when it came',
        **shown,
    )
