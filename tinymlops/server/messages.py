"""What goes over the wire: a Struct for each body, from which the OpenAPI document is made."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tinymlops.records import Access, AuditEntry, CheckResult, ModelAlias, Quarantine, Signature

__all__ = [
    "NAME",
    "AccessAnswer",
    "AuditAnswer",
    "DropAnswer",
    "DropRequest",
    "EndedVersion",
    "FeaturesAnswer",
    "FeaturesRequest",
    "Health",
    "ModelAnswer",
    "ModelSummary",
    "ModelsAnswer",
    "OutcomesRequest",
    "PredictAnswer",
    "PredictRequest",
    "PushRequest",
    "QuarantinedRowsAnswer",
    "QuarantinesAnswer",
    "ReleaseAnswer",
    "ReleaseRequest",
    "ReportedOutcome",
    "ResultsAnswer",
    "VersionSummary",
]

MAX_ROWS = 10_000
MAX_COLUMNS = 1_000
MAX_NAME = 1_000
"""Characters of a column's name."""

NAME = r"^[a-z][a-z0-9_-]{0,62}$"
Name = Annotated[str, Meta(pattern=NAME)]
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""A larger one has no exact column to go to."""
Scalar = bool | Integer | float | str | None
Cell = Scalar | list[Scalar]
"""Times are ISO 8601 text."""
_Nested = Scalar | list[Scalar] | dict[str, Scalar]
_Deeper = Scalar | list[_Nested] | dict[str, _Nested]
Stored = Scalar | list[_Deeper] | dict[str, _Deeper]
"""A value of a source: lists and structs lie in one another three deep."""
Column = Annotated[str, Meta(max_length=MAX_NAME)]
Row = Annotated[dict[Column, Cell], Meta(max_length=MAX_COLUMNS)]
Rows = Annotated[list[Row], Meta(min_length=1, max_length=MAX_ROWS)]
StoredRow = Annotated[dict[Column, Stored], Meta(max_length=MAX_COLUMNS)]
StoredRows = Annotated[list[StoredRow], Meta(min_length=1, max_length=MAX_ROWS)]
Columns = Annotated[dict[Column, Annotated[list[Cell], Meta(max_length=MAX_ROWS)]], Meta(max_length=MAX_COLUMNS)]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request: a field that it does not know is a mistake, not something to pass over."""


def _check_columns(rows: list[dict[str, Any]]) -> None:
    """Refuse rows that together have too many columns: each is in every row of the frame."""
    columns = set[str]().union(*rows)
    if len(columns) > MAX_COLUMNS:
        raise ValueError(f"Expected rows with <= {MAX_COLUMNS} columns together, got {len(columns)}")


class PredictRequest(_Body, frozen=True, kw_only=True):
    """Rows to predict for."""

    rows: Rows
    """Entity keys and request fields, whose features the server reads; or full rows of features."""
    alias: Name | None = None
    """Which version: the one that this alias points at, `latest` for the newest; without alias and version, champion or
    else the newest."""
    version: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    """Which version, by number."""
    details: bool = False
    """Add the status of each feature."""
    sync: bool = False
    """Answer only once the predictions are durable; otherwise they are within half a second."""
    consumer: Name | None = None
    """Who asks, such as `billing`, for lineage."""
    request_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{27}$")] | None = None
    """Milliseconds since 1970 as 12 hexadecimal digits, and 15 more that nobody else has: the same request sent again is
    logged once."""

    def __post_init__(self) -> None:
        if self.alias is not None and self.version is not None:
            raise ValueError("Expected `alias` or `version`, got both")
        _check_columns(self.rows)


class PredictAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Predictions, a row for each row of the request, in order."""

    model: str
    version: int
    timestamp: datetime
    """The time of the features."""
    sequence: int | None
    """What the features cover; null where full rows of features were sent."""
    predictions: list[dict[str, Any]]
    """`id`, `prediction`, for a classifier `probability` or `probabilities`, and details."""


class FeaturesRequest(_Body, frozen=True, kw_only=True):
    """Keys to read features for."""

    features: Annotated[list[Annotated[str, Meta(max_length=200)]], Meta(min_length=1, max_length=MAX_COLUMNS)]
    """Views, on-demand views and services, such as `sky`, single features, such as `sky:visib`, and versions: `sky@v1`,
    `sky@v1:visib`."""
    keys: Rows | Columns
    """Entity keys and request fields: a list of rows, or an object of columns."""
    details: bool = False
    """Add `<feature>_status` and `<feature>_event_time`."""
    consumer: Name | None = None
    """Who reads, such as `billing`, for lineage."""

    def __post_init__(self) -> None:
        if isinstance(self.keys, list):
            _check_columns(self.keys)


class RebuiltRows(msgspec.Struct, frozen=True, kw_only=True):
    """Of when the rows of a rebuilt transformation are."""

    sequence: int
    """Of the inputs that they were computed from."""
    age_seconds: float
    """Since they were computed."""


class EndedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Since when a version gets no new rows."""

    source: str
    """Of which it reads rows that were replaced since."""
    sequence: int
    at: datetime


class FeaturesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Features, a row for each key, in order."""

    timestamp: datetime
    sequence: int
    rebuilt: dict[str, RebuiltRows] = {}
    """By view, of those on a rebuilt transformation."""
    ended: dict[str, EndedVersion] = {}
    """By version such as `spending@v1`, of those that get no new rows; with details."""
    rows: list[dict[str, Any]]


class PushRequest(_Body, frozen=True, kw_only=True):
    """Rows for a source that takes pushes."""

    rows: StoredRows
    batch_id: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    """Any text that names the batch, so that sending it again within 30 days changes nothing; needed where the source
    has no id, which does so for each row."""

    def __post_init__(self) -> None:
        _check_columns(self.rows)


RowNumbers = Annotated[list[Annotated[int, Meta(ge=0, le=2**63 - 1)]], Meta(min_length=1, max_length=MAX_ROWS)]
EventIds = Annotated[list[Integer | str], Meta(min_length=1, max_length=MAX_ROWS)]


class DropRequest(_Body, frozen=True, kw_only=True):
    """Rows of a quarantine to be given up; all where none are chosen."""

    ids: EventIds | None = None
    """Only the rows of these events, by the source's id."""
    rows: RowNumbers | None = None
    """Only these rows, by `__row`."""

    def __post_init__(self) -> None:
        if self.ids is not None and self.rows is not None:
            raise ValueError("Expected `ids` or `rows`, got both")


class ReleaseRequest(DropRequest, frozen=True, kw_only=True):
    """Rows of a quarantine to go in; all where none are chosen."""

    replace_newer: bool = False
    """Let them take the place of other versions of their events that were stored with them or since."""


class ReleaseAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of released rows."""

    source: str
    rows_new: int
    rows_corrected: int
    rows_known: int
    """Stored before: nothing was stored for them."""
    sequence: int
    """The workspace's after it."""


class DropAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What stays of rows that were dropped."""

    quarantine: int
    """The number of their record: their own where others wait on."""
    source: str
    """The name that the source's rows are stored under."""
    rows: int
    status: str


class ResultsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What rules said of batches, the newest first."""

    results: list[CheckResult]
    next: int | None
    """`after` of the next page; null on the last."""


class QuarantinesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Batches of rows that were kept aside, in the order in which they came."""

    quarantines: list[Quarantine]
    next: int | None
    """`after` of the next page; null on the last."""


class QuarantinedRowsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one quarantine, in order."""

    columns: list[str]
    rows: list[dict[str, Any]]
    total: int
    """How many wait."""
    next: int | None
    """`after` of the next page; null on the last."""


class AuditAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Who changed what, the newest first."""

    entries: list[AuditEntry]
    next: int | None
    """`before` of the next page; null on the last."""
    head: str
    """The number and the hash of the last entry of all: kept elsewhere, it proves that nothing before it was changed."""


class AccessAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Who read which features and asked which models, the newest minute first."""

    reads: list[Access]


class ReportedOutcome(_Body, frozen=True, kw_only=True):
    """What really happened, for one prediction."""

    prediction_id: Annotated[str, Meta(min_length=1, max_length=100)]
    value: bool | Integer | float | str | None


class OutcomesRequest(_Body, frozen=True, kw_only=True):
    """What really happened."""

    outcomes: Annotated[list[ReportedOutcome], Meta(min_length=1, max_length=MAX_ROWS)]


class VersionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model."""

    version: int
    run: str
    registered_at: datetime


class ModelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A model with its newest version and its aliases."""

    name: str
    newest: VersionSummary
    aliases: dict[str, int]


class ModelsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The registered models, by name."""

    models: list[ModelSummary]


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A model, its versions, and what the version that answers by default takes and gives."""

    name: str
    version: int
    """Which answers a predict that names neither alias nor version."""
    signature: Signature
    """Of that version."""
    aliases: list[ModelAlias]
    versions: list[VersionSummary]
    """Oldest first."""


class Health(msgspec.Struct, frozen=True):
    """A good answer to a probe."""

    status: str
    starved: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """Models that get no new rows of a source that they read, and why; absent if there are none."""
    ages: dict[str, float] | msgspec.UnsetType = msgspec.UNSET
    """Seconds since the newest event of each source; absent where none has events."""
    in_place: list[str] | msgspec.UnsetType = msgspec.UNSET
    """Sources that are read in place, whose age is not known; absent if there are none."""
