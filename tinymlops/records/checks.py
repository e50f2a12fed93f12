"""What checks on data found, and the rows that they keep aside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar, Literal

from tinymlops.records.record import Record

__all__ = ["CheckResult", "Quarantine"]


class CheckResult(Record, frozen=True, kw_only=True):
    """What one rule said of one batch; of pushes only those that did not pass are kept."""

    table: ClassVar[str] = "check_results"
    key: ClassVar[tuple[str, ...]] = ("id",)
    sql_name: ClassVar[str | None] = "check_results"

    id: int | None = None
    target: str
    """The source, the transformation or the feature view."""
    definition: str
    """The check's name."""
    rule: str
    """Such as `not_null("customer_id")`."""
    action: str
    """`warn`, `quarantine` or `fail`."""
    moment: str
    """What brought the rows: `ingest`, `push`, `rebuild`, `transformation`, `materialize`, `follow` (of a view
    that is online) or `run`."""
    rows: int
    """That were looked at."""
    failed: int
    """Rows that did not pass; of a rule about the batch all of them, or none."""
    passed: bool | None
    """Null where the rule was skipped; `detail` says why."""
    detail: str = ""
    sequence: int = 0
    """The workspace's sequence after the batch."""
    at: datetime


class Quarantine(Record, frozen=True, kw_only=True):
    """Rows of one batch that were kept aside."""

    table: ClassVar[str] = "quarantines"
    key: ClassVar[tuple[str, ...]] = ("id",)
    files: ClassVar[Mapping[str, str]] = {"rows_sha256": "rows of {source} in quarantine {id}"}
    sql_name: ClassVar[str | None] = "quarantines"

    id: int | None = None
    source: str
    """The name that the source's rows are stored under."""
    status: Literal["waiting", "released", "dropped"] = "waiting"
    rows: int
    rows_sha256: str
    """Parquet file of the rows with the digest of each; once they are released or dropped, of the digests alone."""
    columns: dict[str, str]
    """Column to Polars dtype: what the digests are of."""
    rules: dict[str, int]
    """Rule to the number of rows that did not pass it."""
    at: datetime
    settled_at: datetime | None = None
    """When they were released or dropped."""
    settled_by: str | None = None
