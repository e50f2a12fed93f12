"""Rows about indexes of embeddings: which generation is in force, and which image it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.records import VectorIndex

if TYPE_CHECKING:
    from collections.abc import Collection

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.database import Database

__all__ = ["drop_indexes", "index_of", "named_generations", "save_index"]


def index_of(database: Database, embedding: str) -> VectorIndex | None:
    """Return the index of an embedding; None if none was made."""
    return database.get(VectorIndex, embedding=embedding)


def named_generations(database: Database) -> set[tuple[str, str]]:
    """Return (embedding, generation) of every index in force."""
    return {(row.embedding, row.generation) for row in database.list(VectorIndex) if row.generation is not None}


def save_index(scope: Scope, index: VectorIndex) -> None:
    """Put a generation in the place of the one before."""
    with scope.write(audit=None) as tx:
        tx.put(index)


def drop_indexes(scope: Scope, embeddings: Collection[str] | None = None) -> None:
    """Forget the indexes of some embeddings; None for all. Searches are exact from then on."""
    with scope.write(audit=None) as tx:
        for row in tx.list(VectorIndex):
            if embeddings is None or row.embedding in embeddings:
                tx.delete(VectorIndex, embedding=row.embedding)
