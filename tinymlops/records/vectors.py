"""Vectors that were made of texts: their files, how far each embedding has come, and rows that have none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["EmbeddingFit", "EmbeddingState", "FittedModel", "VectorFailure", "VectorFile", "VectorIndex"]


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


class EmbeddingFit(Record, frozen=True, kw_only=True):
    """A TF-IDF that an embedding was fitted to: searches of the time in which it was in force are by it."""

    table: ClassVar[str] = "embedding_fits"
    key: ClassVar[tuple[str, ...]] = ("id",)
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "embedding_fits"
    files: ClassVar[Mapping[str, str]] = {"fitted": "a TF-IDF of embedding {embedding}"}

    id: int | None = None
    embedding: str
    reads: str
    """As in `EmbeddingState`."""
    model: str
    """Its fingerprint."""
    fitted: str
    """SHA-256 of its state."""
    fitted_at: datetime
    """`t` of the rows that it was fitted on."""
    sequence: int
    """It was fitted on rows up to this one."""
    dimension: int
    at: datetime


class FittedModel(Record, frozen=True, kw_only=True):
    """A model by whose vectors a training set or a dataset was built: it stays, also where its embedding has another by now."""

    table: ClassVar[str] = "fitted_models"
    key: ClassVar[tuple[str, ...]] = ("model",)
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "fitted_models"
    files: ClassVar[Mapping[str, str]] = {"fitted": "the fitted model {model}"}

    model: str
    """Its fingerprint."""
    fitted: str | None = None
    """SHA-256 of the state that it was fitted to."""
    fitted_at: datetime | None = None
    """`t` of the rows that it was fitted on."""
    dimension: int
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


class VectorIndex(Record, frozen=True, kw_only=True):
    """The generation of an embedding's index that is in force, or why there is none."""

    table: ClassVar[str] = "vector_indexes"
    key: ClassVar[tuple[str, ...]] = ("embedding",)
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "vector_indexes"

    embedding: str
    generation: str | None = None
    """Its directory is `vectors/<embedding>/<generation>`; None where it was refused."""
    refused: str | None = None
    """Why there is no index over this image."""
    image: str
    """The name of the image that it was made from, whose rows it finds."""
    covered: int
    """It has the rows up to this sequence."""
    metric: str
    rows: int
    probes: int
    """How many partitions a search reads."""
    recall: float
    """Share of the ten nearest that it found when it was made, for vectors that were left out of their answers."""
    lancedb: str
    """The version of LanceDB that wrote it."""
    hashes: Mapping[str, str]
    """File in its directory to SHA-256."""
    at: datetime
