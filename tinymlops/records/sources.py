"""What is known of a source's rows: their schema, how they are dated, the name they are stored under."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec

from tinymlops.records.record import Record

__all__ = ["Generation", "RenamedSource", "Schema", "SourceState"]


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
    small: ClassVar[bool] = True

    source: str
    definition: str
    """Fingerprint of the definition the rows were read under."""
    columns: dict[str, str]
    """Column name to Polars dtype, as `tinymlops.schema` writes it."""
    rows: int
    max_event: int | None = None
    """The greatest event time ever ingested, microseconds UTC."""
    complete_until: int | None = None
    """Declared by the user at ingest: no row with an earlier event time is missing."""
    quarantined: int = 0
    ingested_at: datetime | None = None
    schemas: list[Schema] = []
    """Every schema the rows had, oldest first; empty where there was only `columns`."""

    @property
    def all_schemas(self) -> list[Schema]:
        """Every schema the rows had, oldest first."""
        return self.schemas or [Schema(0, self.columns)]


class Generation(Record, frozen=True, kw_only=True):
    """Rows of one source that were read and dated alike; `rebuild` begins another generation."""

    table: ClassVar[str] = "generations"
    key: ClassVar[tuple[str, ...]] = ("source", "number")

    source: str
    number: int
    """From 0."""
    dating: str
    """Canonical JSON of what dates and identifies the rows: timestamp, id, created, and how local times are read."""
    queries: list[str]
    """Digests of the SQL or functions that read its rows; each gave the same rows as the one before."""
    begins: int
    """Its rows have greater sequences."""
    ends: int | None = None
    """The sequence from which on a later generation replaces it; null for the live one."""
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
