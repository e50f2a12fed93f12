"""`get_training_data`: spine, label and features put together, split by time, fingerprinted and recorded."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import polars as pl

from tinymlops import _html
from tinymlops._time import format_duration, from_micros, parse_instant, parse_zone, to_micros
from tinymlops.errors import DataError, LeakageError
from tinymlops.features import specs
from tinymlops.features.computing import Array, compute
from tinymlops.features.expressions import columns_of
from tinymlops.features.historical import features_for
from tinymlops.features.prepared import history_from_store
from tinymlops.features.sources import current_rows
from tinymlops.features.specs import EntitySpec, LabelSpec, OnDemandSpec, SourceSpec, TrainingSetSpec
from tinymlops.records import FeatureField, RequestField, Scalar, Signature, SourceState, TrainingSetBuild
from tinymlops.schema import dtype_name

if TYPE_CHECKING:
    from tinymlops.features.context import Context

__all__ = ["BuildReport", "Split", "TrainingData", "build", "outcomes_of", "table_hash"]


class BuildReport(msgspec.Struct, frozen=True):
    """How many spine rows became training rows, and where the others went."""

    spine_rows: int
    immature: int
    """The outcome could not be known yet."""
    no_outcome: int
    """Mature, and there is no outcome (a cancelled flight)."""
    purged: int
    """Before the split, with a label window that reaches past it."""
    train_rows: int
    test_rows: int


class Split(NamedTuple):
    """Rows to fit or to test on."""

    X: pl.DataFrame
    """Features only, in declared order: Float64, Int64, Boolean or Enum; nulls kept."""
    y: pl.Series
    """The label, without nulls."""
    spine: pl.DataFrame
    """Keys, request fields and prediction time of each row."""

    def __repr__(self) -> str:
        return f"<split: {self.X.height:,} rows, {self.X.width} features, label {self.y.name} ({self.y.dtype})>"


class TrainingData:
    """A training set as it was built.

    Attributes:
        name: Of the training set.
        build_id: Of this build.
        sequence: `Q`: it saw only rows with a sequence up to this one.
        fingerprint: SHA-256 over schema and values of features and label, in row order.
        train: Rows to fit on.
        test: Rows from the split on; None without a split.
        signature: What a model fitted to it takes.
        definitions: `kind:name` to fingerprint of everything it stands on.
        report: Row counts.
    """

    def __init__(
        self,
        record: TrainingSetBuild,
        train: Split,
        test: Split | None,
        signature: Signature,
        definitions: Mapping[str, str],
        report: BuildReport,
    ) -> None:
        self.name = record.name
        self.build_id = record.id
        self.sequence = record.sequence
        self.fingerprint = record.fingerprint
        self.train = train
        self.test = test
        self.signature = signature
        self.definitions = dict(definitions)
        self.report = report

    def __repr__(self) -> str:
        test = f", test {self.report.test_rows:,}" if self.test else ""
        left_out = ", ".join(
            f"{count:,} {why}"
            for why, count in (
                ("immature", self.report.immature),
                ("without outcome", self.report.no_outcome),
                ("purged at the split", self.report.purged),
            )
            if count
        )
        return (
            f"<training data {self.name}: {self.train.X.width} features, train {self.report.train_rows:,}{test} rows"
            f"{'; left out ' + left_out if left_out else ''}; {self.fingerprint[:12]} at Q={self.sequence}>"
        )

    def _repr_html_(self) -> str:
        rows = [(field.name, field.dtype, field.source) for field in self.signature.features]
        return _html.table(repr(self).strip("<>"), rows)


def build(context: Context, name: str, *, test_from: datetime | str | None) -> TrainingData:
    """Build a training set and record it.

    Args:
        context: The workspace's state.
        name: The training set's name.
        test_from: Spine times from here on are the test rows; a date means midnight in the project's zone.

    Raises:
        DataError: If no row is left to train on.
    """
    spec = context.definitions.get(TrainingSetSpec, name)
    label = context.definitions.get(LabelSpec, spec.label)
    sequence = context.environment.database.sequence()
    spine = current_rows(context, spec.spine)
    time = spine["__event"].to_numpy()
    table = features_for(context, spine, time, spec.features, spine_source=spec.spine)
    outcome, mature = outcomes_of(context, label, spine, time)
    parts = _split(spec, label, time, outcome, mature, test_from)
    X = pl.DataFrame([_model_dtype(series) for series in table.columns.values()])
    X = _with_categories(X, parts.train)
    fields = _fields(X, table.origins)
    request = _request_fields(context, spec, spine)
    signature = Signature(fields, request, *_task(outcome.filter(pl.Series(parts.train))))
    rows = parts.train | parts.test
    fingerprint = table_hash(X.filter(rows).with_columns(outcome.filter(rows).alias("__label")))
    definitions = context.definitions.stands_on(spec)
    report = parts.report
    record = _record(context, spec, signature, definitions, report, sequence, fingerprint, X.width)
    shown = spine.select(pl.exclude("^__.*$")).with_columns(pl.Series("timestamp", time).cast(pl.Datetime("us", "UTC")))

    def split(chosen: Array) -> Split:
        return Split(X.filter(chosen), outcome.filter(pl.Series(chosen)).alias(label.name), shown.filter(chosen))

    test = split(parts.test) if test_from is not None else None
    return TrainingData(record, split(parts.train), test, signature, definitions, report)


class _Parts(NamedTuple):
    train: Array
    test: Array
    report: BuildReport


def outcomes_of(context: Context, label: LabelSpec, spine: pl.DataFrame, time: Array) -> tuple[pl.Series, Array]:
    """Return each row's outcome over `(t + gap, t + gap + horizon]`, and whether it can be known by now.

    Args:
        context: The workspace's state.
        label: What counts as the outcome.
        spine: The key columns of the label's entity.
        time: int64[m] spine times, microseconds UTC.

    Raises:
        DataError: If the spine lacks a key column.
        LeakageError: If nobody can say until when the label's source is complete.
    """
    entity = context.definitions.get(EntitySpec, label.entity)
    source = context.definitions.get(SourceSpec, label.source)
    missing = [column for column in entity.key if column not in spine.columns]
    if missing:
        raise DataError(
            f"the spine has no column {missing[0]!r}, the key of label {label.name!r}",
            hint=f"let the spine source return {missing[0]!r}",
        )
    keys = [spine[column] for column in entity.key]
    history = history_from_store(context, source, entity, keys, columns_of(label.expression), outcome=True)
    windowed = msgspec.structs.replace(label.expression, window=label.horizon)
    end = time + (label.gap + label.horizon)
    # A window is [end - w, end) and the look-ahead (t + gap, end]: one microsecond later they are the same.
    outcome = compute(history, {label.name: windowed}, end + 1, strict=True, ttl=None)[label.name]
    complete = _complete_until(context, source)
    return outcome, end + context.definitions.origin(source).delay <= complete


def _complete_until(context: Context, source: SourceSpec) -> int:
    base = [context.environment.database.get(SourceState, source=name) for name in _bases(context, source)]
    known = [_said_or_seen(state, context.now()) for state in base if state]
    if not known or any(value is None for value in known):
        raise LeakageError(
            f"nobody can say until when source {source.name!r} is complete",
            hint="ingest or push its rows, or say ws.ingest(complete_until=...)",
        )
    return min(value for value in known if value is not None)


def _said_or_seen(state: SourceState, now: int) -> int | None:
    """Return the user's word, or the newest event; an event that is still to come completes nothing before it."""
    if state.complete_until is not None or state.max_event is None:
        return state.complete_until
    return min(state.max_event, now)


def _bases(context: Context, source: SourceSpec) -> set[str]:
    return context.definitions.base_sources(source.name)


def _split(
    spec: TrainingSetSpec,
    label: LabelSpec,
    time: Array,
    outcome: pl.Series,
    mature: Array,
    test_from: datetime | str | None,
) -> _Parts:
    has = outcome.is_not_null().to_numpy()
    usable = has & mature
    reach = label.gap + label.horizon
    if test_from is None:
        train, test, purged = usable, np.zeros(len(time), np.bool_), 0
    else:
        at = to_micros(parse_instant(test_from, name="test_from", zone=parse_zone(spec.tz)))
        before = usable & (time < at)
        train, test = before & (time + reach < at), usable & (time >= at)
        purged = int(before.sum() - train.sum())
    report = BuildReport(
        len(time), int((~mature).sum()), int((mature & ~has).sum()), purged, int(train.sum()), int(test.sum())
    )
    if not report.train_rows:
        raise DataError(
            f"training set {spec.name!r} has no row to train on: of {report.spine_rows} spine rows {report.immature} "
            f"are immature, {report.no_outcome} have no outcome, {purged} were purged",
            hint=f"ingest more, choose a later test_from, or a horizon shorter than {format_duration(reach)}",
        )
    return _Parts(train, test, report)


def _model_dtype(series: pl.Series) -> pl.Series:
    """Cast a feature to what models take: Float64, Int64, Boolean or String."""
    dtype = series.dtype
    if dtype == pl.Boolean or dtype == pl.String:
        return series
    if dtype.is_integer():
        return series.cast(pl.Int64)
    if dtype.is_numeric() or dtype == pl.Null:
        return series.cast(pl.Float64)
    if isinstance(dtype, pl.Enum | pl.Categorical):
        return series.cast(pl.String)
    raise DataError(
        f"feature {series.name!r} is {dtype}, which no model takes",
        hint="turn it into a number, a boolean or a string in the view or an on-demand view",
    )


def _with_categories(X: pl.DataFrame, train: Array) -> pl.DataFrame:
    """Make strings enums of the training rows' categories; what only other rows have is null."""
    enums = {}
    for name, dtype in X.schema.items():
        if dtype == pl.String:
            categories = X[name].filter(pl.Series(train)).drop_nulls().unique().sort()
            enums[name] = X[name].cast(pl.Enum(categories), strict=False)
    return X.with_columns(**enums)


def _fields(X: pl.DataFrame, origins: Mapping[str, str]) -> list[FeatureField]:
    fields = []
    for name, dtype in X.schema.items():
        categories = dtype.categories.to_list() if isinstance(dtype, pl.Enum) else None
        fields.append(
            FeatureField(name, "Enum" if categories is not None else dtype_name(dtype), origins[name], categories)
        )
    return fields


def _request_fields(context: Context, spec: TrainingSetSpec, spine: pl.DataFrame) -> list[RequestField]:
    """Return the columns that a prediction request must carry: entity keys, then on-demand request fields."""
    roles: dict[str, str] = {}
    for request in spec.features:
        if request.on_demand:
            on_demand = context.definitions.get(OnDemandSpec, request.view)
            roles.update({name: "request" for name in on_demand.request if name not in roles})
        else:
            view = context.definitions.get(specs.ViewSpec, request.view)
            entity = context.definitions.get(EntitySpec, view.entity)
            roles.update(dict.fromkeys(request.on or entity.key, "key"))
    return [RequestField(name, dtype_name(spine.schema[name]), role) for name, role in roles.items()]


def _task(y: pl.Series) -> tuple[str, list[Scalar] | None]:
    """Say what kind of learning a label asks for, and its classes."""
    if y.dtype == pl.Boolean:
        return "binary", [False, True]
    classes = y.unique().sort()
    if y.dtype == pl.String or (y.dtype.is_integer() and len(classes) <= 20):
        return "binary" if len(classes) == 2 else "multiclass", classes.to_list()
    return "regression", None


def _record(
    context: Context,
    spec: TrainingSetSpec,
    signature: Signature,
    definitions: Mapping[str, str],
    report: BuildReport,
    sequence: int,
    fingerprint: str,
    features: int,
) -> TrainingSetBuild:
    """Publish the build's manifest and record the build."""
    environment = context.environment
    manifest = msgspec.json.encode(
        {
            "training_set": spec,
            "sequence": sequence,
            "fingerprint": fingerprint,
            "definitions": definitions,
            "signature": signature,
            "report": report,
            "engines": {"polars": pl.__version__, "numpy": np.__version__},
        },
        order="deterministic",
    )
    record = TrainingSetBuild(
        id=uuid.uuid4().hex,
        name=spec.name,
        sequence=sequence,
        fingerprint=fingerprint,
        manifest_sha256=environment.blobs.put(manifest),
        rows=report.train_rows + report.test_rows,
        features=features,
        created_at=from_micros(context.now()),
    )
    with environment.database.write(actor="local") as tx:
        tx.insert(record)
        tx.audit("training_set.build", spec.name, id=record.id, fingerprint=fingerprint, sequence=sequence)
    return record


def table_hash(frame: pl.DataFrame) -> str:
    """Return the SHA-256 over a frame's schema and values, in row order; null has no value of its own.

    Args:
        frame: Columns of numbers, booleans, strings or enums.
    """
    digest = hashlib.sha256()
    for column in frame.get_columns():
        digest.update(f"{column.name}\0{dtype_name(column.dtype)}\0{len(column)}\0".encode())
        digest.update(np.packbits(column.is_null().to_numpy()).tobytes())
        if column.dtype.is_numeric() or column.dtype == pl.Boolean:
            digest.update(column.fill_null(strategy="zero").to_numpy().tobytes())
            continue
        text = column.cast(pl.String).fill_null("")
        digest.update(text.str.len_bytes().to_numpy().tobytes())
        digest.update("".join(text.to_list()).encode())
    return digest.hexdigest()
