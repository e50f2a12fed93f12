"""`get_training_data`: combine spine, label and features, split them by time, fingerprint and record the result."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from importlib import metadata
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import msgspec
import numpy as np
import polars as pl

from tinymlops._warn import warn
from tinymlops.errors import DataError, DefinitionError, IntegrityError
from tinymlops.features.definitions import graph, specs
from tinymlops.features.definitions.about import is_open
from tinymlops.features.definitions.definitions import labelled
from tinymlops.features.definitions.specs import EntitySpec, LabelSpec, OnDemandSpec, TrainingSetSpec
from tinymlops.features.history.content import table_hash
from tinymlops.features.history.embedding_columns import fitted_now, require_kept, with_models
from tinymlops.features.history.ended import Ended, ended_views
from tinymlops.features.history.historical import features_for, request_by_number
from tinymlops.features.history.in_place import reading_once
from tinymlops.features.history.kept_reads import KeptRead, kept_reads
from tinymlops.features.history.knowledge_report import Knowledge, knowledge_of
from tinymlops.features.history.labels import complete_until, outcomes_of
from tinymlops.features.history.spines import spine_of
from tinymlops.features.history.stored import require_past
from tinymlops.flat import flat, flat_names
from tinymlops.notebook import in_notebook
from tinymlops.records import FittedModel, RequestField, Signature, TrainingSetBuild
from tinymlops.schema import dtype_name
from tinymlops.signature import build_signature
from tinymlops.tables import html_table
from tinymlops.times import format_duration, from_micros, parse_instant, parse_zone, to_micros

if TYPE_CHECKING:
    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context
    from tinymlops.features.history.historical import FeatureColumns
    from tinymlops.findings import Finding

__all__ = [
    "BuildManifest",
    "BuildReport",
    "Computed",
    "Recipe",
    "Split",
    "TrainingData",
    "build",
    "computed",
    "engine_versions",
    "model_dtype",
    "read_manifest",
    "rebuild",
]


Immature = Literal["drop", "null"]

_PROTOCOL = 1
"""Raised when the manifest's meaning changes; the reader of an older one stays."""
_PATIENCE = 60.0


class BuildReport(msgspec.Struct, frozen=True):
    """How many spine rows became training rows, and why the others did not."""

    spine_rows: int
    immature: int
    """Rows whose outcome cannot be known yet."""
    no_outcome: int
    """Mature rows without an outcome (a cancelled flight)."""
    purged: int
    """Rows before the split whose label window reaches past it."""
    train_rows: int
    test_rows: int
    knowledge: dict[str, Knowledge] = {}
    """View to how its rows became known, and how many cells the other mode would change."""
    not_finite: dict[str, int] = {}
    """Feature to the number of its values, in rows of its source or of the spine, that are null because the result is NaN,
    infinite or divided by zero; only features with any."""
    ended: dict[str, Ended] = {}
    """Versions that get no new rows, such as `spending@v1`, and since when."""


class Split(NamedTuple):
    """Rows to fit or to test on."""

    X: pl.DataFrame
    """Features only, in declared order: Float64, Int64, Boolean or Enum; nulls kept. A vector is a column for each number."""
    y: pl.Series
    """The label: null only in immature rows, if they were requested."""
    spine: pl.DataFrame
    """Keys, request fields and prediction time of each row."""

    def __repr__(self) -> str:
        return f"<split: {self.X.height:,} rows, {self.X.width} features, label {self.y.name} ({self.y.dtype})>"


class TrainingData:
    """A training set as it was built.

    Attributes:
        name: The name of the training set.
        build_id: The id of this build.
        sequence: `Q`: it saw only rows with a sequence up to this one.
        fingerprint: SHA-256 over schema and values of features and label, in row order.
        train: Rows to fit on.
        test: Rows from the split on; None without a split.
        signature: The signature of a model fitted to it.
        definitions: `kind:name` to fingerprint of everything it depends on.
        report: Row counts.
        reach: How long after a row's time its outcome can still come: the label's gap and horizon.
        tz: The zone of dates in a split by time: the project's.
        findings: What the checks for leaks found that every build has.
        embeddings: Embedding to the model that made its vectors; of a build that was just made.
    """

    def __init__(
        self,
        record: TrainingSetBuild,
        train: Split,
        test: Split | None,
        signature: Signature,
        definitions: Mapping[str, str],
        report: BuildReport,
        *,
        reach: timedelta,
        tz: str,
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
        self.reach = reach
        self.tz = tz
        self.findings: list[Finding] = []
        self.embeddings: dict[str, FittedModel] = {}

    def times(self) -> Array:
        """Return int64[m], the times of all rows, microseconds UTC."""
        parts = [self.train, *([self.test] if self.test is not None else [])]
        times: Array = pl.concat([part.spine["timestamp"] for part in parts]).cast(pl.Int64).to_numpy()
        return times

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
            f"{'; left out ' + left_out if left_out else ''}; {self.fingerprint[:12]} at Q={self.sequence}"
            f"{'; found ' + ', '.join(one.name for one in self.findings) if self.findings else ''}>"
        )

    def _repr_html_(self) -> str:
        rows = [(field.name, field.dtype, field.source) for field in self.signature.features]
        return in_notebook(html_table(repr(self).strip("<>"), rows))


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that determines the content of a training set, except the definitions it depends on."""

    training_set: TrainingSetSpec
    sequence: int
    """`Q`: only rows with a sequence up to this one are read."""
    complete_until: int
    """Until when the label's source was complete, microseconds UTC: later outcomes are immature."""
    test_from: int | None
    """Spine times from here on are the test rows, microseconds UTC; None for no split."""
    immature: Immature = "drop"
    """Whether rows whose outcome cannot be known yet are left out or kept with a null."""
    fields_as_known: bool = False
    """Whether request fields are those known at each row's time; builds from before there was a choice use the final version."""


class BuildManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of a build, in a file named by its hash: enough to build it again."""

    protocol: int = _PROTOCOL
    recipe: Recipe
    fingerprint: str
    definitions: dict[str, str]
    """`kind:name` to fingerprint of everything it depends on."""
    signature: Signature
    report: BuildReport
    engines: dict[str, str]
    """The packages that compute values, to their versions."""
    in_place: tuple[KeptRead, ...] = ()
    """What it read of sources that are read in place."""
    embeddings: dict[str, str] = {}
    """Embedding to the fingerprint of the model that made its vectors."""


def build(
    context: Context,
    name: str,
    *,
    test_from: datetime | date | str | None,
    as_of: int | None = None,
    immature: Immature = "drop",
) -> TrainingData:
    """Build a training set and record it.

    Args:
        context: The workspace's state.
        name: The training set's name.
        test_from: Spine times from here on are the test rows; a date is midnight in the project's zone.
        as_of: Use only rows with a sequence up to this one; None for all rows of now.
        immature: Whether rows whose outcome cannot be known yet are left out, or kept with a null.

    Raises:
        DataError: If no row is left to train on, or the workspace has not reached that sequence.
        DefinitionError: If `immature` has another value.
    """
    if immature not in get_args(Immature):
        raise DefinitionError(f"immature={immature!r} is not possible", hint="use 'drop' or 'null'")
    spec = context.definitions.get(TrainingSetSpec, name)
    _require_enabled(context, spec)
    label = context.definitions.get(LabelSpec, spec.label)
    past = require_past(context, as_of)
    sequence = context.environment.database.sequence() if past is None else past
    now = () if past is not None else (sequence,)
    models = fitted_now(context, spec.features)
    context = with_models(context, {name: model.model for name, model in models.items()})
    with reading_once(*now, hashes=True) as operation:
        made = _by_recipe(context, spec, label, sequence, test_from=test_from, immature=immature)
        kept = kept_reads(operation)
    data = made.as_data(_record(context, made, kept, models))
    data.embeddings = models
    return data


def _by_recipe(
    context: Context,
    spec: TrainingSetSpec,
    label: LabelSpec,
    sequence: int,
    *,
    test_from: datetime | date | str | None,
    immature: Immature,
) -> _Made:
    recipe = Recipe(
        training_set=_by_number(context, spec),
        sequence=sequence,
        complete_until=complete_until(context, label, as_of=sequence),
        test_from=None
        if test_from is None
        else to_micros(parse_instant(test_from, name="test_from", zone=parse_zone(spec.tz))),
        immature=immature,
        fields_as_known=True,
    )
    return _made(context, recipe, graph.stands_on(context.definitions, spec))


def _require_enabled(context: Context, training_set: TrainingSetSpec) -> None:
    """Refuse a training set that is not enabled; warn of what it stands on and is not."""
    if not is_open(training_set):
        raise DefinitionError(
            f"training set {training_set.name!r} is not enabled: nothing new is built of it",
            hint="build from another training set; what was built of it is reproduced as before",
        )
    for key, spec in graph.below(context.definitions, training_set).items():
        if not is_open(spec):
            warn(f"training set {training_set.name} reads {labelled(key)}, which is not enabled: move on from it")


def _by_number(context: Context, training_set: TrainingSetSpec) -> TrainingSetSpec:
    """Return a training set whose variants are named by number, which stays when a variant gets another name."""
    features = tuple(request_by_number(context.definitions, request) for request in training_set.features)
    return msgspec.structs.replace(training_set, features=features)


def rebuild(context: Context, record: TrainingSetBuild, recipe: Recipe, definitions: Mapping[str, str]) -> TrainingData:
    """Build a training set again from its recipe; nothing is recorded.

    Args:
        context: The workspace's state, under the definitions that it was built with.
        record: The record of the build.
        recipe: The recipe from its manifest.
        definitions: From its manifest: what it stands on.
    """
    made = _made(context, recipe, definitions)
    return made.as_data(msgspec.structs.replace(record, fingerprint=made.fingerprint))


def read_manifest(context: Context, record: TrainingSetBuild) -> BuildManifest:
    """Read the manifest of a build.

    Raises:
        IntegrityError: If the file is missing, damaged, or of a newer tinymlops.
    """
    content = context.environment.blobs.read(record.manifest_sha256)
    try:
        manifest = msgspec.json.decode(content, type=BuildManifest)
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"the manifest of training set {record.id} cannot be read: {error}") from error
    if manifest.protocol > _PROTOCOL:
        raise IntegrityError(
            f"the manifest of training set {record.id} has protocol {manifest.protocol}",
            hint="pip install --upgrade tinymlops",
        )
    return manifest


class _Made(NamedTuple):
    """A training set before it is split into frames."""

    recipe: Recipe
    X: pl.DataFrame
    outcome: pl.Series
    spine: pl.DataFrame
    parts: _Parts
    signature: Signature
    definitions: dict[str, str]
    fingerprint: str

    def as_data(self, record: TrainingSetBuild) -> TrainingData:
        """Return it in the form for users."""

        def split(chosen: Array) -> Split:
            return Split(self.X.filter(chosen), self.outcome.filter(pl.Series(chosen)), self.spine.filter(chosen))

        test = split(self.parts.test) if self.recipe.test_from is not None else None
        train = split(self.parts.train)
        return TrainingData(
            record,
            train,
            test,
            self.signature,
            self.definitions,
            self.parts.report,
            reach=timedelta(microseconds=self.parts.reach),
            tz=self.recipe.training_set.tz,
        )


class Computed(NamedTuple):
    """A training set's values for every row of its spine, also for those that are left out of it."""

    spine: pl.DataFrame
    """m rows, with their system columns."""
    time: Array
    """int64[m], microseconds UTC."""
    table: FeatureColumns
    outcome: pl.Series
    """m outcomes, named as the label: null where there is none, or none that can be known yet."""
    mature: Array
    """bool[m]: whether the outcome can be known."""
    parts: _Parts

    @property
    def used(self) -> Array:
        """bool[m]: whether a row is to fit or to test on."""
        return self.parts.train | self.parts.test

    def features(self) -> pl.DataFrame:
        """Return the features in types that models accept, text as text and vectors as arrays."""
        return pl.DataFrame([model_dtype(series) for series in self.table.columns.values()])

    def matrix(self) -> pl.DataFrame:
        """Return the features as models get them: a column for each number of a vector, text as enums of the training rows."""
        return _with_categories(flat(self.features()), self.parts.train)

    def fingerprint(self, X: pl.DataFrame) -> str:
        """Return the hash of the content, where `X` is the matrix."""
        rows = self.used
        return table_hash(X.filter(rows).with_columns(self.outcome.filter(pl.Series(rows)).alias("__label")))


def computed(context: Context, recipe: Recipe) -> Computed:
    """Compute a training set from its recipe; nothing is recorded.

    Args:
        context: The workspace's state, under the definitions that it is built with.
        recipe: What determines its content.
    """
    spec, past = recipe.training_set, recipe.sequence
    label = context.definitions.get(LabelSpec, spec.label)
    spine = spine_of(context, spec, as_of=past, fields_as_known=recipe.fields_as_known)
    time = spine["__event"].to_numpy()
    table = features_for(context, spine, time, spec.features, spine_source=spec.spine, as_of=past)
    outcome, mature = outcomes_of(context, label, spine, time, complete=recipe.complete_until, as_of=past)
    parts = _split(recipe, label, time, outcome, mature)
    return Computed(spine, time, table, outcome.set(pl.Series(~mature), None).alias(label.name), mature, parts)


def _made(context: Context, recipe: Recipe, definitions: Mapping[str, str]) -> _Made:
    spec, past = recipe.training_set, recipe.sequence
    done = computed(context, recipe)
    spine, time, table, parts = done.spine, done.time, done.table, done.parts
    knowledge = knowledge_of(context, spine, time, spec.features, table, spine_source=spec.spine, as_of=past)
    parts = parts._replace(
        report=msgspec.structs.replace(
            parts.report,
            knowledge=knowledge,
            not_finite=table.not_finite,
            ended=ended_views(context, spec.features),
        )
    )
    X = done.matrix()
    request = _request_fields(context, spec, spine)
    origins = {name: table.origins[column.name] for column in table.columns.values() for name in flat_names(column)}
    signature = build_signature(X, done.outcome.filter(pl.Series(parts.train)), origins, request)
    shown = spine.select(pl.exclude("^__.*$")).with_columns(pl.Series("timestamp", time).cast(pl.Datetime("us", "UTC")))
    return _Made(recipe, X, done.outcome, shown, parts, signature, dict(definitions), done.fingerprint(X))


class _Parts(NamedTuple):
    train: Array
    test: Array
    report: BuildReport
    reach: int
    """Microseconds from a row's time to the end of its label's window."""


def _split(recipe: Recipe, label: LabelSpec, time: Array, outcome: pl.Series, mature: Array) -> _Parts:
    has = outcome.is_not_null().to_numpy()
    usable = has & mature if recipe.immature == "drop" else has | ~mature
    reach = label.gap + label.horizon
    at = recipe.test_from
    if at is None:
        train, test, purged = usable, np.zeros(len(time), np.bool_), 0
    else:
        before = usable & (time < at)
        train, test = before & (time + reach < at), usable & (time >= at)
        purged = int(before.sum() - train.sum())
    report = BuildReport(
        len(time), int((~mature).sum()), int((mature & ~has).sum()), purged, int(train.sum()), int(test.sum())
    )
    if not report.train_rows:
        raise DataError(
            f"training set {recipe.training_set.name!r} has no row to train on: of {report.spine_rows} spine rows "
            f"{report.immature} are immature, {report.no_outcome} have no outcome, {purged} were purged",
            hint=f"ingest more, choose a later test_from, or a horizon shorter than {format_duration(reach)}",
        )
    return _Parts(train, test, report, reach)


def model_dtype(series: pl.Series) -> pl.Series:
    """Cast a feature to a type that models accept: Float64, Int64, Boolean or String; an array of numbers stays as it is."""
    dtype = series.dtype
    if flat_names(series) != [series.name]:
        return series
    if dtype == pl.Boolean or dtype == pl.String:
        return series
    if dtype.is_integer():
        whole = series.cast(pl.Int64, strict=False)
        if whole.null_count() > series.null_count():
            big = series.filter(whole.is_null() & series.is_not_null())[0]
            raise DataError(
                f"feature {series.name!r} is {big} in a row, which no 64-bit integer with a sign holds",
                hint="turn it into a string, or into a float if near is enough, in the view or an on-demand view",
            )
        return whole
    if dtype.is_numeric() or dtype == pl.Null:
        return series.cast(pl.Float64)
    if isinstance(dtype, pl.Enum | pl.Categorical):
        return series.cast(pl.String)
    raise DataError(
        f"feature {series.name!r} is {dtype}, which models do not accept",
        hint="turn it into a number, a boolean or a string in the view or an on-demand view",
    )


def _with_categories(X: pl.DataFrame, train: Array) -> pl.DataFrame:
    """Make strings enums with the training rows' categories; a category that only other rows have is null."""
    enums = {}
    for name, dtype in X.schema.items():
        if dtype == pl.String:
            categories = X[name].filter(pl.Series(train)).drop_nulls().unique().sort()
            enums[name] = X[name].cast(pl.Enum(categories), strict=False)
    return X.with_columns(**enums)


def _request_fields(context: Context, spec: TrainingSetSpec, spine: pl.DataFrame) -> list[RequestField]:
    """Return the columns that a prediction request must carry: entity keys, then on-demand request fields."""
    roles: dict[str, str] = {}
    for request in spec.features:
        if request.on_demand:
            on_demand = context.definitions.for_request(request).get(OnDemandSpec, request.view)
            roles.update({name: "request" for name in on_demand.request if name not in roles})
        else:
            reader = context.definitions.for_request(request)
            view = reader.get(specs.ViewSpec, request.view)
            entity = reader.get(EntitySpec, view.entity)
            roles.update(dict.fromkeys(request.on or entity.key, "key"))
    return [RequestField(name, dtype_name(spine.schema[name]), role) for name, role in roles.items()]


def _record(
    context: Context, made: _Made, kept: tuple[KeptRead, ...], models: Mapping[str, FittedModel]
) -> TrainingSetBuild:
    """Publish the build's manifest and record the build."""
    environment, recipe, report = context.environment, made.recipe, made.parts.report
    manifest = BuildManifest(
        recipe=recipe,
        fingerprint=made.fingerprint,
        definitions=made.definitions,
        signature=made.signature,
        report=report,
        engines=engine_versions(),
        in_place=kept,
        embeddings={name: model.model for name, model in models.items()},
    )
    # No `gc` may run between the manifest and its row.
    with environment.gc_lock.shared(deadline=_PATIENCE):
        stays = require_kept(context, models)
        record = TrainingSetBuild(
            id=uuid.uuid4().hex,
            name=recipe.training_set.name,
            sequence=recipe.sequence,
            fingerprint=made.fingerprint,
            manifest_sha256=environment.blobs.put(msgspec.json.encode(manifest, order="deterministic")),
            rows=report.train_rows + report.test_rows,
            features=made.X.width,
            created_at=from_micros(context.now()),
        )
        facts = {"id": record.id, "fingerprint": made.fingerprint, "sequence": recipe.sequence}
        with context.scope.write("training_set.build", record.name, **facts) as tx:
            tx.insert(record)
            tx.put_many(stays)
    return record


def engine_versions() -> dict[str, str]:
    """Return the versions of the packages that compute a training set's values."""
    return {name: metadata.version(name) for name in ("tinymlops", "duckdb", "numba", "numpy", "polars")}
