"""Vectors that were made of texts: their files, how far each embedding has come, and rows that have none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["EmbeddingState", "VectorFailure", "VectorFile"]


class VectorFile(Record, frozen=True, kw_only=True):
    """An immutable file of vectors by one model, each under the hash of its text."""

    table: ClassVar[str] = "vector_files"
    key: ClassVar[tuple[str, ...]] = ("id",)
    small: ClassVar[bool] = True
    files: ClassVar[Mapping[str, str]] = {"sha256": "vectors of model {model}"}

    id: int | None = None
    model: str
    """Fingerprint of the model."""
    sha256: str
    dimension: int
    rows: int
    created_at: datetime


class EmbeddingState(Record, frozen=True, kw_only=True):
    """How far an embedding has come in the rows of its source."""

    table: ClassVar[str] = "embedding_states"
    key: ClassVar[tuple[str, ...]] = ("embedding",)
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "embedding_states"
    files: ClassVar[Mapping[str, str]] = {"fitted": "the fitted model of embedding {embedding}"}

    embedding: str
    reads: str
    """SHA-256 of what is embedded and by which model as it is named: of another one, all is embedded anew."""
    model: str
    """Fingerprint of the model."""
    fitted: str | None = None
    """SHA-256 of the state that the model was fitted to."""
    fitted_at: datetime | None = None
    """`t` of the rows that it was fitted on."""
    dimension: int
    covered: int
    """Every row up to this sequence has its vector, or a failure."""
    at: datetime


class VectorFailure(Record, frozen=True, kw_only=True):
    """A row whose text has no vector."""

    table: ClassVar[str] = "vector_failures"
    key: ClassVar[tuple[str, ...]] = ("embedding", "n")
    sql_name: ClassVar[str | None] = "vector_failures"

    embedding: str
    n: int
    """Sequence of the row."""
    reason: str
    at: datetime
