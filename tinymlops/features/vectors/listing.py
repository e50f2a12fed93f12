"""The embeddings of a workspace, and how far their vectors are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import DefinitionError, NotFoundError
from tinymlops.features.definitions.declaring_embeddings import key_of_rows
from tinymlops.features.definitions.specs import EmbeddingSpec
from tinymlops.features.vectors.rows import read_rows
from tinymlops.features.vectors.standing import standing_of

if TYPE_CHECKING:
    from tinymlops.features.context import Context

__all__ = ["EmbeddingStatus", "listed"]


class EmbeddingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What an embedding is made of, and how far its vectors are."""

    embedding: str
    source: str
    """Whose rows are searched."""
    key: list[str]
    """The columns that name a row in an answer."""
    text: str | None
    """The column of text; None for a column of vectors."""
    vector: str | None
    model: str | None
    """As defined, such as "tfidf"."""
    metric: str
    dimension: int | None
    """How many numbers a vector has; None where nothing says it yet."""
    covered: int
    """The sequence up to which every row has its vector, or failed."""
    waiting: int
    """Rows whose texts have no vector yet."""
    failed: int
    """Rows whose texts have no vector for a reason."""


def listed(context: Context) -> list[EmbeddingStatus]:
    """Return the embeddings in force, by name."""
    found = context.definitions.of(EmbeddingSpec)
    return [_status(context, found[name]) for name in sorted(found)]


def _status(context: Context, spec: EmbeddingSpec) -> EmbeddingStatus:
    standing = standing_of(context, spec)
    waiting, dimension = 0, spec.dimension if standing.state is None else standing.state.dimension
    if spec.text is not None:
        try:
            rows = read_rows(context, spec, [spec.text], after=standing.covered)
            waiting = standing.waiting(standing.with_vectors(rows, dimension)[0])
        except (NotFoundError, DefinitionError):  # nothing was ingested yet, or it has no texts: a search says so
            waiting = 0
    return EmbeddingStatus(
        embedding=spec.name,
        source=spec.source,
        key=key_of_rows(context.definitions, spec),
        text=spec.text,
        vector=spec.vector,
        model=spec.model,
        metric=spec.metric,
        dimension=dimension,
        covered=standing.covered,
        waiting=waiting,
        failed=len(standing.failed),
    )
