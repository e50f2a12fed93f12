"""What goes over the wire of vectors: a Struct for each body, from which the OpenAPI document is made."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tinymlops.features.vectors.listing import EmbeddingStatus

if TYPE_CHECKING:
    from tinymlops.features.vectors.answer import Answer

__all__ = [
    "MOST_ROWS",
    "ClusterRequest",
    "ClustersAnswer",
    "DuplicatesRequest",
    "EmbeddingsAnswer",
    "PairsAnswer",
    "SearchAnswer",
    "SearchRequest",
    "told",
]

MOST_ROWS = 1_000
"""Of a search."""
_MOST_OF_ALL = 10_000
"""Pairs, or rows of clusters."""
_Value = bool | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | Annotated[str, Meta(max_length=1_000)] | None
_Column = Annotated[str, Meta(min_length=1, max_length=1_000)]


class _Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As of when."""

    at: Annotated[datetime, Meta(tz=True)] | None = None
    """As known then; by default now."""
    as_of: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    """Only by rows with a sequence up to this one."""


class SearchRequest(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is searched for: a text, or a vector."""

    query: Annotated[str, Meta(max_length=65_536)] | None = None
    """A text, of which the model of the embedding makes a vector."""
    vector: Annotated[list[float], Meta(min_length=1, max_length=16_384)] | None = None
    """Numbers that float32 holds."""
    k: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = 10
    """At most so many rows."""
    where: Annotated[dict[_Column, _Value], Meta(max_length=100)] = {}
    """What columns must be; null is null."""
    mode: Literal["vector", "text", "hybrid"] = "vector"
    """By vectors, by words (BM25), or the reciprocal rank fusion of both."""
    exact: bool = False
    """Compare every vector, though there is an index, which may miss a row."""

    def __post_init__(self) -> None:
        if (self.query is None) == (self.vector is None):
            raise ValueError("Expected either `query` or `vector`")


class DuplicatesRequest(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pairs of rows are asked for."""

    threshold: float | None = None
    """The least score of a pair; 0.95 by cosine, to be said for other metrics."""
    limit: Annotated[int, Meta(ge=1, le=_MOST_OF_ALL)] = 1_000
    """At most so many pairs, the best."""


class ClusterRequest(_Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which clusters are asked for."""

    k: Annotated[int, Meta(ge=1, le=100)] = 8
    """At most so many clusters."""
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 0
    """Where the search for clusters begins."""
    limit: Annotated[int, Meta(ge=0, le=_MOST_OF_ALL)] = 1_000
    """At most so many rows in the answer, by key; the clusters are of all."""


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer rests on."""

    timestamp: datetime
    """What was known then was read."""
    sequence: int
    """Rows up to it were read."""
    covered: int
    """The sequence up to which every row has its vector, or failed."""
    waiting: int
    """Rows whose texts have no vector yet."""
    failed: int
    """Rows whose texts have no vector for a reason."""
    fitted_at: datetime | None = None
    """The time of the rows that TF-IDF was fitted on; null where no vector was compared, and for other models."""
    rows: list[dict[str, Any]]


class SearchAnswer(_Told, frozen=True, kw_only=True):
    """The rows that are nearest, the best first: `score`, the key, the time, and the other columns."""

    generation: str | None = None
    """That of the index which chose what was compared; null where every vector was."""
    indexed: int | None = None
    """The sequence up to which it has the rows; later ones were compared one by one."""


class PairsAnswer(_Told, frozen=True, kw_only=True):
    """Pairs of rows with nearly the same vector, the best first: `score`, and each column of both rows, as `id_1` and `id_2`."""

    threshold: float
    """The least score."""
    count: int
    """How many pairs there are; `rows` has the best of them."""


class ClustersAnswer(_Told, frozen=True, kw_only=True):
    """Groups of rows with similar vectors. `rows` has the key, `cluster`, `distance` to its middle, `x` and `y`."""

    clusters: list[dict[str, Any]]
    """The largest first: `cluster`, `rows`, `share`, `distance`, `words`, `values`, and the keys `nearest` to the middle."""
    count: int
    """How many rows there are; `rows` has the first of them, by key."""


def told(found: Answer, limit: int | None = None) -> dict[str, Any]:
    """Return what each kind of answer says.

    Args:
        found: The answer.
        limit: Of its rows; None for all.
    """
    names = ("timestamp", "sequence", "covered", "waiting", "failed", "fitted_at")
    rows = found.to_polars() if limit is None else found.to_polars().head(limit)
    return {name: getattr(found, name) for name in names} | {"rows": rows.to_dicts()}


class EmbeddingsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The embeddings, by name."""

    embeddings: list[EmbeddingStatus]
