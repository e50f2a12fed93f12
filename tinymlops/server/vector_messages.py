"""What goes over the wire of vectors: a Struct for each body, from which the OpenAPI document is made."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tinymlops.features.vectors.listing import EmbeddingStatus

__all__ = ["MOST_ROWS", "EmbeddingsAnswer", "SearchAnswer", "SearchRequest"]

MOST_ROWS = 1_000
_Value = bool | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | Annotated[str, Meta(max_length=1_000)] | None
_Column = Annotated[str, Meta(min_length=1, max_length=1_000)]


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is searched for: a text, or a vector."""

    query: Annotated[str, Meta(max_length=65_536)] | None = None
    """A text, of which the model of the embedding makes a vector."""
    vector: Annotated[list[float], Meta(min_length=1, max_length=16_384)] | None = None
    """Numbers that float32 holds."""
    k: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = 10
    """At most so many rows."""
    at: Annotated[datetime, Meta(tz=True)] | None = None
    """As known then; by default now."""
    as_of: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    """Only by rows with a sequence up to this one."""
    where: Annotated[dict[_Column, _Value], Meta(max_length=100)] = {}
    """What columns must be; null is null."""
    mode: Literal["vector", "text", "hybrid"] = "vector"
    """By vectors, by words (BM25), or the reciprocal rank fusion of both."""

    def __post_init__(self) -> None:
        if (self.query is None) == (self.vector is None):
            raise ValueError("Expected either `query` or `vector`")


class SearchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that are nearest, the best first."""

    timestamp: datetime
    """What was known then was searched."""
    sequence: int
    """Rows up to it were searched."""
    covered: int
    """The sequence up to which every row has its vector, or failed."""
    waiting: int
    """Rows whose texts have no vector yet."""
    failed: int
    """Rows whose texts have no vector for a reason."""
    rows: list[dict[str, Any]]
    """`score`, the key, the time, and the other columns."""


class EmbeddingsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The embeddings, by name."""

    embeddings: list[EmbeddingStatus]
