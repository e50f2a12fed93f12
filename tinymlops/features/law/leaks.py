"""What can be told of leaks from definitions alone: no row is read and no function of the user's is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tinymlops.errors import TinyMLOpsError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.definitions import Definitions
from tinymlops.features.definitions.expressions import columns_of
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.specs import (
    LabelSpec,
    OnDemandSpec,
    ServiceSpec,
    SourceSpec,
    TrainingSetSpec,
    ViewSpec,
)
from tinymlops.features.history.in_place import columns_in_place
from tinymlops.features.history.stored import known_columns, state_of
from tinymlops.features.law.readings import facts, files_of, names, puts_together
from tinymlops.findings import Finding

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import FeatureRequest

__all__ = ["static_findings"]

_EARLIER = frozenset({"date_trunc()", "datetrunc()", "time_bucket()", "min()", "first()", "any_value()", "arbitrary()"})
"""Functions that give a time that lies before those of the rows that are put together."""

_LATER = frozenset({"+()", "date_add()", "greatest()", "max()", "last_day()", "arg_max()", "max_by()"})
"""Functions that may bring it behind them again, so that only a replay can tell."""


class _Loss(NamedTuple):
    """How a source loses the time of a label's rows."""

    rule: str
    message: str
    fix: str


def static_findings(
    context: Context, training_sets: Sequence[TrainingSetSpec], services: Sequence[ServiceSpec] = ()
) -> list[Finding]:
    """Find the leaks that definitions show.

    Args:
        context: The workspace's state, with the definitions to look at.
        training_sets: Of them.
        services: Of them; without an outcome, only the times of what they read can be looked at.

    Returns:
        In the order of the training sets and services; the same finding may come with several.
    """
    found = list(_of_labels(context.definitions))
    for one in training_sets:
        label = context.definitions.get(LabelSpec, one.label)
        found += _of_views(context, one, label)
        found += _of_request_fields(context, one, label)
        found += _of_times(context, one)
    for service in services:
        found += _of_times(context, service)
    return found


def _of_labels(definitions: Definitions) -> Iterator[Finding]:
    for label in definitions.of(LabelSpec).values():
        source = definitions.get(SourceSpec, label.source)
        if graph.origin(definitions, source).timestamp is None:
            yield Finding(
                rule="label-without-time",
                level="leak",
                where=label.name,
                message=f"label {label.name!r} reads {source.name!r}, which has no event time: nobody could say when the "
                "outcome was known",
                fix=f'give the source one: @project.source(timestamp="...") on {source.name}',
            )


def _of_views(context: Context, training_set: TrainingSetSpec, label: LabelSpec) -> Iterator[Finding]:
    for request in training_set.features:
        reader = _reader(context, request)
        for name, features, read in _read_of(reader.definitions, request):
            for source in graph.upstream(reader.definitions, [read]).values():
                for loss in _losses(reader, source, label):
                    yield _of_view(
                        training_set, request.prefix + name, [request.prefix + one for one in features], loss
                    )


def _read_of(definitions: Definitions, request: FeatureRequest) -> Iterator[tuple[str, Sequence[str], str]]:
    """Yield the view that a request names, features of it, and a source that these read; nothing for one of expressions."""
    if not request.on_demand:
        view = definitions.get(ViewSpec, request.view)
        yield view.name, request.features or tuple(view.features), view.source
        return
    on_demand = definitions.get(OnDemandSpec, request.view)
    if on_demand.nearest is not msgspec.UNSET:
        for source in dict.fromkeys(one.source for one in graph.neighbours_under(definitions, on_demand)):
            yield on_demand.name, tuple(on_demand.nearest.features), source


def _reader(context: Context, request: FeatureRequest) -> Context:
    """Return the state with what the version that a request names stands on in place of the newest."""
    version = context.definitions.for_request(request)
    if version is context.definitions:
        return context
    return context.with_definitions(Definitions([*context.definitions.all, *version.all]))


def _of_view(training_set: TrainingSetSpec, view: str, features: Sequence[str], loss: _Loss) -> Finding:
    return Finding(
        rule=loss.rule,
        level="warning" if loss.rule == "window-ahead" else "leak",
        where=f"{training_set.name}.{view}",
        feature=", ".join(features),
        message=f"view {view!r} reads the source of label {training_set.label!r} without its time: {loss.message}",
        fix=loss.fix,
    )


def _losses(context: Context, source: SourceSpec, label: LabelSpec) -> Iterator[_Loss]:
    """Find how one source of a view's lineage brings the label's rows without the time when they were known."""
    if source.inputs and not source.row_wise:
        yield from _of_transformation(context, source, label)
    elif not source.inputs:
        yield from _of_file(context, source, label)


def _of_file(context: Context, source: SourceSpec, label: LabelSpec) -> Iterator[_Loss]:
    """Find a source that reads the label's file as if it had no time, or had another one."""
    for name in sorted(graph.base_sources(context.definitions, label.source)):
        base = context.definitions.get(SourceSpec, name)
        shared = files_of(context, source) & files_of(context, base)
        dated_alike = source.timestamp is not None and source.timestamp == base.timestamp
        if base is source or not shared or dated_alike or not _reads_outcome(context, source, label):
            continue
        file = min(shared)
        if source.timestamp is None:
            yield _Loss(
                "static-source",
                f"{source.name!r} is static, and reads {file!r} as {base.name!r} does, so its rows are visible before they "
                "happened",
                f"read {base.name!r} through a window, or give {source.name!r} its timestamp: {base.timestamp!r}",
            )
        else:
            yield _Loss(
                "other-time",
                f"{source.name!r} dates the rows of {file!r} by {source.timestamp!r}, and {base.name!r} by {base.timestamp!r}",
                f"use timestamp={base.timestamp!r}, or leave the columns of the outcome out of {source.name!r}",
            )


def _reads_outcome(context: Context, source: SourceSpec, label: LabelSpec) -> bool:
    """Say whether a source brings a column that the label reads, as far as its code tells."""
    read = facts(source)
    if read is not None and (read.has_star or read.has_whole_row):
        return True
    return any(names(context, source, column) for column in columns_of(label.expression))


def _of_transformation(context: Context, source: SourceSpec, label: LabelSpec) -> Iterator[_Loss]:
    """Find a rebuilt transformation over the label's rows whose own time is not theirs."""
    definitions, read = context.definitions, facts(source)
    for name in source.inputs:
        time = graph.origin(definitions, definitions.get(SourceSpec, name)).timestamp
        if time is None or not graph.shared_sources(definitions, name, label.source):
            continue
        if read is not None and read.looks_ahead:
            yield _Loss(
                "window-ahead",
                f"in transformation {source.name!r} {read.looks_ahead[0]} takes in rows that came after a row's own",
                f"order the window by {time} and end it at the current row; or use a window of a feature view",
            )
        if _keeps(context, source, time):
            earlier = _earlier(source)
            if earlier:
                yield _Loss(
                    "time-before-rows",
                    f"transformation {source.name!r} dates what it puts together by {earlier}, which lies before its rows",
                    f"say with delay= how long after {source.timestamp!r} its last row comes, or use a window of a feature view",
                )
        elif puts_together(context, source) or not names(context, source, time):
            how = "puts rows together" if puts_together(context, source) else "joins rows"
            yield _Loss(
                "group-without-time",
                f"transformation {source.name!r} {how} of {name!r} and dates the result by {source.timestamp!r}, which says "
                f"nothing of {time!r}",
                f"use a window of a feature view over {name!r}, or date each row by the end of the time that it sums up",
            )


def _keeps(context: Context, source: SourceSpec, time: str) -> bool:
    """Say whether the times of a transformation's rows come from the times of its input's."""
    read = facts(source)
    own = [column for column in (source.timestamp, source.created) if column is not None]
    if read is None:
        return names(context, source, time)
    if read.has_star and time in own:
        return True
    return any(time in read.traced(column) and (column in read.outputs) for column in own)


def _earlier(source: SourceSpec) -> str | None:
    """Return the function that dates rows earlier than they are; None where nothing does, or a delay makes up for it."""
    read = facts(source)
    if read is None or source.timestamp is None or source.created or source.delay or source.delay_column:
        return None
    made_by = read.traced(source.timestamp)
    return None if made_by & _LATER else min(made_by & _EARLIER, default=None)


def _of_request_fields(context: Context, training_set: TrainingSetSpec, label: LabelSpec) -> Iterator[Finding]:
    """Find request fields that are the outcome itself: columns of a spine that brings it without its time."""
    spine = context.definitions.get(SourceSpec, training_set.spine)
    lost = [
        loss
        for one in graph.upstream(context.definitions, [spine.name]).values()
        for loss in _losses(context, one, label)
    ]
    if not lost:
        return
    outcome, read = columns_of(label.expression), facts(spine)
    for request in training_set.features:
        if not request.on_demand:
            continue
        for field in context.definitions.for_request(request).get(OnDemandSpec, request.view).request:
            if field in outcome or (read is not None and read.traced(field) & outcome):
                yield Finding(
                    rule="feature-of-label",
                    level="leak",
                    where=f"{training_set.name}.{title_of(request)}.{field}",
                    feature=field,
                    message=f"on-demand view {title_of(request)!r} takes {field!r} of the spine, which is what label "
                    f"{label.name!r} is made of: {lost[0].message}",
                    fix=f"leave {field!r} out: it is known only after the prediction",
                )


def _of_times(context: Context, asking: TrainingSetSpec | ServiceSpec) -> Iterator[Finding]:
    """Find dates and times without a zone that let a row be seen before it happened."""
    read: dict[tuple[str, bool], tuple[SourceSpec, set[str]]] = {}
    for request in asking.features:
        if not request.on_demand:
            definitions = context.definitions.for_request(request)
            view = definitions.get(ViewSpec, request.view)
            origin = graph.origin(definitions, definitions.get(SourceSpec, view.source))
            _, columns = read.setdefault((view.source, definitions is context.definitions), (origin, set()))
            columns.update(*map(columns_of, view.features.values()))
    for source, columns in read.values():
        dtypes = _dtypes(context, source)
        for role in ("timestamp", "created"):
            column = getattr(source, role)
            if column is not None:
                yield from _of_time(source, role, column, dtypes.get(column, ""))
        for column in sorted(columns & dtypes.keys()):
            yield from _of_column(source, column, dtypes[column])


def _of_time(source: SourceSpec, role: str, column: str, dtype: str) -> Iterator[Finding]:
    if dtype == "Date" and source.date_means == "start":
        yield _dated(
            source,
            column,
            "date-at-start",
            f"the {role} {column!r} of source {source.name!r} is a date that counts from the start of its day, before what "
            "happened on it",
            'leave date_means="start" out: a fact of a day is then known at its end; or give the time of day',
        )
    elif dtype == "Date" and source.tz is None:
        yield _dated(
            source,
            column,
            "date-without-zone",
            f"the {role} {column!r} of source {source.name!r} is a date, whose day ends by UTC",
            'say in which zone its day is: tz="Europe/Vienna"',
        )
    elif _is_naive(dtype) and source.ambiguous == "earliest":
        yield _dated(
            source,
            column,
            "naive-at-earliest",
            f"the {role} {column!r} of source {source.name!r} has no zone, and of an hour that a clock change repeats it "
            "counts as the earlier one: such a row is seen an hour before it happened",
            'use ambiguous="latest" for facts, or times with their zone',
        )


def _of_column(source: SourceSpec, column: str, dtype: str) -> Iterator[Finding]:
    if _is_naive(dtype) and column not in (source.timestamp, source.created):
        yield _dated(
            source,
            column,
            "naive-column",
            f"features read {column!r} of source {source.name!r}, a time without a zone: beside the time of prediction, which is "
            "UTC, it is off by hours",
            f"give it its zone in the source: {column} at time zone '...' in SQL, dt.replace_time_zone in Polars",
        )


def _dated(source: SourceSpec, column: str, rule: str, message: str, fix: str) -> Finding:
    return Finding(rule=rule, level="warning", where=f"{source.name}.{column}", message=message, fix=fix)


def _is_naive(dtype: str) -> bool:
    return dtype.startswith("Datetime") and "," not in dtype


def _dtypes(context: Context, source: SourceSpec) -> Mapping[str, str]:
    try:
        if source.in_place:
            return columns_in_place(context, source, reads=False)
        return known_columns(source, state_of(context, source.name))
    except TinyMLOpsError:  # not ingested yet
        return {}
