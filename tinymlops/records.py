"""What tinymlops remembers: one Struct per record, the same in SQLite, over HTTP, in files and in Python.

A record names its table and its primary key; `tinymlops.stores.database` reads and writes any of them. Times
are aware UTC datetimes here and integer microseconds in SQLite; what is no scalar is JSON text there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import msgspec

__all__ = [
    "Artifact",
    "AuditEntry",
    "Counter",
    "Definition",
    "Evaluation",
    "FeatureField",
    "Generation",
    "Ingestion",
    "LoggedModel",
    "Metric",
    "ModelAlias",
    "ModelVersion",
    "MovedEvent",
    "Outcome",
    "Prediction",
    "PushBatch",
    "PushedRow",
    "Record",
    "RenamedSource",
    "RequestField",
    "Run",
    "Schema",
    "Segment",
    "Signature",
    "SourceState",
    "TrainingSetBuild",
]

Scalar = bool | int | float | str | None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A row of one table of the workspace's database."""

    table: ClassVar[str] = ""
    key: ClassVar[tuple[str, ...]] = ()


class Counter(Record, frozen=True, kw_only=True):
    """A number of the workspace: its last `sequence`, `audit` entry and `commits`, and the checksum of its `schema`."""

    table: ClassVar[str] = "counters"
    key: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    value: int


class Definition(Record, frozen=True, kw_only=True):
    """One version of one applied definition: a new version is written only when its content changes."""

    table: ClassVar[str] = "definitions"
    key: ClassVar[tuple[str, ...]] = ("kind", "name", "version")

    kind: str
    name: str
    version: int
    fingerprint: str
    """SHA-256 of the canonical JSON of `spec`."""
    spec: dict[str, Any]
    project: str
    applied_at: datetime
    removed_at: datetime | None = None
    """When a later apply no longer had it."""


class Segment(Record, frozen=True, kw_only=True):
    """An immutable file of rows of one source, sorted by key, event time, created time and sequence."""

    table: ClassVar[str] = "segments"
    key: ClassVar[tuple[str, ...]] = ("id",)

    id: int | None = None
    source: str
    sha256: str
    base: int
    """A row of the file has the sequence `base` + its stored ordinal; 0 where compaction stored the sequence itself."""
    rows: int
    last: int
    """The greatest sequence that it took: of its last row, and of a rebuild without rows the commit's own."""
    bytes: int
    min_event: int | None
    """Microseconds since 1970, UTC; null for a static source."""
    max_event: int | None
    corrections: int = 0
    """Rows that replace or delete an earlier one with the same key and id."""
    covers: int | None = None
    """For a derived source: the sequence that its inputs were read at."""
    until: int | None = None
    """The sequence from which on another rebuild, or a later generation of the source, stands in its place."""
    created_at: datetime
    dead_at: datetime | None = None
    dated: bool = False
    """Whether its later versions say when they became known; those stored before schema 3 take the time of their ingest."""
    progress: int | None = None
    """The greatest event time not later than the clock of its commit; null if unknown or there is none."""


class Schema(msgspec.Struct, frozen=True):
    """The columns of a source's rows from a sequence on."""

    after: int
    """Rows of a greater sequence are stored under it."""
    columns: dict[str, str]
    """Column to Polars dtype."""


class SourceState(Record, frozen=True, kw_only=True):
    """What is known of one source's data."""

    table: ClassVar[str] = "source_states"
    key: ClassVar[tuple[str, ...]] = ("source",)

    source: str
    definition: str
    """Fingerprint of the definition the rows were read under."""
    columns: dict[str, str]
    """Column name to Polars dtype, as `tinymlops.schema` writes it."""
    rows: int
    max_event: int | None = None
    """The greatest event time ever ingested, microseconds UTC."""
    complete_until: int | None = None
    """Said by the user at ingest: no row with an earlier event time is missing."""
    quarantined: int = 0
    ingested_at: datetime | None = None
    schemas: list[Schema] = []
    """Every schema the rows had, oldest first; empty where there was only `columns`."""

    @property
    def all_schemas(self) -> list[Schema]:
        """Every schema the rows had, oldest first."""
        return self.schemas or [Schema(0, self.columns)]


class Generation(Record, frozen=True, kw_only=True):
    """Rows of one source that were read and dated alike; `rebuild` begins another."""

    table: ClassVar[str] = "generations"
    key: ClassVar[tuple[str, ...]] = ("source", "number")

    source: str
    number: int
    """From 0."""
    dating: str
    """Canonical JSON of what dates and identifies the rows: timestamp, id, created, and how local times are read."""
    queries: list[str]
    """Digests of the SQL or function its rows were read by; each gave the same rows as the one before."""
    begins: int
    """Its rows have greater sequences."""
    ends: int | None = None
    """The sequence from which on a later generation stands; null for the live one."""
    at: datetime
    inputs: str = ""
    """Digest of the row-wise transformations that a rebuilt one reads; empty if it reads none."""


class RenamedSource(Record, frozen=True, kw_only=True):
    """A source that has another name now; its rows stay where they are."""

    table: ClassVar[str] = "renamed_sources"
    key: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    place: str
    """The name that its rows are stored under: the first that it had."""
    at: datetime


class Ingestion(Record, frozen=True, kw_only=True):
    """One ingest of one source: what came, what was already there, what was refused."""

    table: ClassVar[str] = "ingestions"
    key: ClassVar[tuple[str, ...]] = ("id",)

    id: int | None = None
    source: str
    rows_read: int
    rows_new: int
    rows_corrected: int = 0
    rows_known: int = 0
    rows_deleted: int = 0
    """No longer at the source when it was read in full; each retracts its event."""
    rows_held_back: int = 0
    """Not yet available by the workspace's clock; the next ingest takes them."""
    rows_quarantined: int = 0
    """Without an event time."""
    rows_never_known: int = 0
    """Without a created time where the source declares one: stored, and visible to labels only."""
    complete_until: int | None = None
    """Said by the user with it: no row with an earlier event time is missing, microseconds UTC."""
    sequence: int = 0
    """The workspace's sequence after it."""
    seconds: float = 0.0
    at: datetime
    rows_ahead: int = 0
    """Dated later than the clock: stored, and neither labels nor `since` go by them."""
    rows_incomplete: int = 0
    """Known rows that were stored before a column came for which the source has a value now."""
    rows_carried: int = 0
    """Of a rebuild: versions taken over from the generation before."""
    rows_restarted: int = 0
    """Of a rebuild: rows that count as read now, from the last correction of their id on."""
    rows_dropped: int = 0
    """Of a rebuild: events of the generation before that it does not have."""
    generation: int = 0

    def __repr__(self) -> str:
        named = [name for name in self.__struct_fields__ if name.startswith("rows_") and name != "rows_read"]
        counts = {name.removeprefix("rows_").replace("_", " "): getattr(self, name) for name in named}
        told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "nothing new"
        begun = f"; generation {self.generation}" if self.generation else ""
        return f"<ingested {self.source}: {self.rows_read:,} read, {told}; Q={self.sequence}{begun}>"


class PushedRow(Record, frozen=True, kw_only=True):
    """A row that arrived by push; its created time is the time of the commit."""

    table: ClassVar[str] = "pushed_rows"
    key: ClassVar[tuple[str, ...]] = ("n",)

    n: int
    source: str
    event_id: str | None = None
    """Canonical JSON of the id column's value; null where the source has no id."""
    payload: bytes
    """msgpack of the row's values in the order of `SourceState.columns`; columns added later are not in it."""
    digest: bytes
    """The first 16 bytes of the SHA-256 of `payload`, which a later version of the event is compared with."""
    event: int | None
    """Microseconds since 1970, UTC; null for a static source."""
    created: int
    deleted: bool = False


class MovedEvent(Record, frozen=True, kw_only=True):
    """What is kept of an event whose pushed rows compaction moved into a segment: its latest version's content."""

    table: ClassVar[str] = "moved_events"
    key: ClassVar[tuple[str, ...]] = ("source", "event_id")

    source: str
    event_id: str
    digest: bytes
    deleted: bool


class PushBatch(Record, frozen=True, kw_only=True):
    """A batch of pushed rows that has a name, so that it is known when it is sent again."""

    table: ClassVar[str] = "push_batches"
    key: ClassVar[tuple[str, ...]] = ("source", "batch_id")

    source: str
    batch_id: str
    digest: bytes
    """Of all its rows."""
    at: int
    """Microseconds since 1970, UTC."""


class FeatureField(msgspec.Struct, frozen=True):
    """One model input: its column name, dtype, where it comes from, and the categories of a string."""

    name: str
    dtype: str
    source: str
    """`view:feature`, `on_demand:feature`, or `request` for a plain spine column."""
    categories: list[str] | None = None


class RequestField(msgspec.Struct, frozen=True):
    """A field that a prediction request must carry: an entity key column or a request field."""

    name: str
    dtype: str
    role: str
    """`key` or `request`."""


class Signature(msgspec.Struct, frozen=True):
    """What a model takes and gives."""

    features: list[FeatureField]
    request: list[RequestField]
    task: str
    """`binary`, `multiclass` or `regression`."""
    classes: list[Scalar] | None = None
    frame: str | None = None
    """What the model is given: a `polars` or `pandas` frame, or an `array`. None of models logged before this was kept:
    an array where the model knows no column names, else a Polars frame."""


class TrainingSetBuild(Record, frozen=True, kw_only=True):
    """A training set as it was built once: enough to say what it held, and to build it again."""

    table: ClassVar[str] = "training_sets"
    key: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    name: str
    sequence: int
    """`Q`: the build read only rows with a sequence up to this one."""
    fingerprint: str
    """SHA-256 over schema and values in row order."""
    manifest_sha256: str
    rows: int
    features: int
    created_at: datetime


class Run(Record, frozen=True, kw_only=True):
    """One experiment run."""

    table: ClassVar[str] = "runs"
    key: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    name: str
    status: str
    """`running`, `finished` or `failed`."""
    params: dict[str, Scalar] = {}
    metrics: dict[str, float] = {}
    """The last value of each metric."""
    tags: dict[str, str] = {}
    training_set: str | None = None
    """Id of the training set build it used."""
    git_commit: str | None = None
    git_dirty: bool = False
    packages: dict[str, str] = {}
    started_at: datetime
    ended_at: datetime | None = None
    error: str | None = None


class Metric(Record, frozen=True, kw_only=True):
    """One value of one metric of one run."""

    table: ClassVar[str] = "metrics"
    key: ClassVar[tuple[str, ...]] = ("id",)

    id: int | None = None
    run: str
    name: str
    step: int
    value: float
    at: datetime


class Artifact(Record, frozen=True, kw_only=True):
    """A file that a run keeps."""

    table: ClassVar[str] = "artifacts"
    key: ClassVar[tuple[str, ...]] = ("run", "name")

    run: str
    name: str
    sha256: str
    bytes: int
    at: datetime


class Evaluation(msgspec.Struct, frozen=True):
    """A model's metrics on rows it was not fitted to (or on its training rows, and then it says so)."""

    split: str
    """`test` or `train`."""
    rows: int
    metrics: dict[str, float]


class LoggedModel(Record, frozen=True, kw_only=True):
    """A model that a run logged: its file and everything needed to serve and explain it."""

    table: ClassVar[str] = "logged_models"
    key: ClassVar[tuple[str, ...]] = ("run", "name")

    run: str
    name: str
    flavor: str
    sha256: str
    """Of the model file."""
    bytes: int
    model_class: str
    signature: Signature
    training_set: str | None = None
    definitions: dict[str, str] = {}
    """`kind:name` to the fingerprint of every definition it stands on."""
    evaluation: Evaluation | None = None
    baseline_sha256: str | None = None
    """Blob with the histogram of each training feature, for drift."""
    trusted_types: list[str] = []
    at: datetime


class ModelVersion(Record, frozen=True, kw_only=True):
    """A registered version of a named model; immutable."""

    table: ClassVar[str] = "model_versions"
    key: ClassVar[tuple[str, ...]] = ("name", "version")

    name: str
    version: int
    run: str
    logged_name: str
    manifest_sha256: str
    """Blob holding the `LoggedModel`, the run, and every definition in full."""
    registered_at: datetime


class ModelAlias(Record, frozen=True, kw_only=True):
    """A movable name for one version, such as champion."""

    table: ClassVar[str] = "model_aliases"
    key: ClassVar[tuple[str, ...]] = ("name", "alias")

    name: str
    alias: str
    version: int
    previous: int | None = None
    changed_at: datetime


class Prediction(Record, frozen=True, kw_only=True):
    """One answered prediction, with the features it was made from."""

    table: ClassVar[str] = "predictions"
    key: ClassVar[tuple[str, ...]] = ("id",)

    id: str
    model: str
    version: int
    at: datetime
    """The prediction time `t` of its features."""
    sequence: int | None
    """`Q` of the online store; null where full feature rows were sent."""
    request: dict[str, Any]
    features: dict[str, Any]
    output: dict[str, Any]


class Outcome(Record, frozen=True, kw_only=True):
    """What really happened, for one prediction."""

    table: ClassVar[str] = "outcomes"
    key: ClassVar[tuple[str, ...]] = ("prediction_id",)

    prediction_id: str
    value: float | str | None
    at: datetime
    origin: str
    """`logged` by a user or `label` computed from the label's source."""


class AuditEntry(Record, frozen=True, kw_only=True):
    """One change, chained to the one before it by hash."""

    table: ClassVar[str] = "audit"
    key: ClassVar[tuple[str, ...]] = ("n",)

    n: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    previous: str
    hash: str
