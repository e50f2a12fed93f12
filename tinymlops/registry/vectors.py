"""Rows about vectors: their files by model, how far each embedding has come, and rows whose text has no vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.records import EmbeddingState, VectorFailure, VectorFile

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = [
    "add_vectors",
    "failures_of",
    "files_of",
    "forget_failures",
    "replace_files",
    "save_state",
    "state_of_embedding",
    "unneeded_files",
]


def files_of(database: Database, model: str) -> list[VectorFile]:
    """Return the files of vectors by a model, oldest first."""
    return database.list(VectorFile, where={"model": model}, order="id")


def state_of_embedding(database: Database, name: str) -> EmbeddingState | None:
    """Return how far an embedding has come; None before its first vector."""
    return database.get(EmbeddingState, embedding=name)


def failures_of(database: Database, name: str) -> list[VectorFailure]:
    """Return the rows of an embedding whose texts have no vector, oldest first."""
    return database.list(VectorFailure, where={"embedding": name}, order="n")


def save_state(scope: Scope, state: EmbeddingState, *, begins: bool) -> None:
    """Store how far an embedding has come.

    Args:
        scope: The workspace.
        state: The state.
        begins: It embeds something else than before, or by another model: earlier failures mean nothing.
    """
    if not begins:
        with scope.write(audit=None) as tx:
            tx.put(state)
        return
    with scope.write("vectors.begin", state.embedding, model=state.model) as tx:
        tx.put(state)
        _drop_failures(tx, state.embedding)


def add_vectors(scope: Scope, file: VectorFile | None, failures: Sequence[VectorFailure]) -> None:
    """Name a file of vectors that was published, and the rows that have none."""
    with scope.write(audit=None) as tx:
        if file is not None:
            tx.insert(file)
        tx.put_many(failures)


def replace_files(scope: Scope, model: str, old: Sequence[VectorFile], new: VectorFile | None) -> None:
    """Put one file of a model's vectors in the place of several; None for none."""
    with scope.write("vectors.rewrite", model, files=len(old)) as tx:
        for file in old:
            tx.delete(VectorFile, id=file.id)
        if new is not None:
            tx.insert(new)


def forget_failures(scope: Scope, model: str, stored: Mapping[str, Collection[int]]) -> list[VectorFile]:
    """Forget the failures of rows that are gone, and return the files of a model.

    Args:
        scope: The workspace.
        model: Its fingerprint.
        stored: Embedding to the sequences of the rows that are there.
    """
    with scope.write(audit=None) as tx:
        for name, sequences in stored.items():
            for one in tx.list(VectorFailure, where={"embedding": name}):
                if one.n not in sequences:
                    tx.delete(VectorFailure, embedding=name, n=one.n)
    return files_of(scope.environment.database, model)


def unneeded_files(scope: Scope, models: Mapping[str, str]) -> list[str]:
    """Forget embeddings that are not in force, and the files of models that none in force has; return the files' hashes.

    Args:
        scope: The workspace.
        models: Embedding in force to the fingerprint of its model.
    """
    removed = list[str]()
    with scope.write(audit=None) as tx:
        for file in tx.list(VectorFile):
            if file.model not in models.values():
                tx.delete(VectorFile, id=file.id)
                removed.append(file.sha256)
        for state in tx.list(EmbeddingState):
            if models.get(state.embedding) != state.model:
                tx.delete(EmbeddingState, embedding=state.embedding)
                _drop_failures(tx, state.embedding)
                removed += [state.fitted] if state.fitted is not None else []
    return removed


def _drop_failures(tx: Transaction, name: str) -> None:
    tx.execute(f"DELETE FROM {VectorFailure.table} WHERE embedding = ?", (name,))
