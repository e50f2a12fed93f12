"""Rows about vectors: their files by model, how far each embedding has come, and rows whose text has no vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.records import EmbeddingFit, EmbeddingState, FittedModel, VectorFailure, VectorFile

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = [
    "add_vectors",
    "failures_of",
    "files_of",
    "fits_of",
    "forget_failures",
    "forget_fits",
    "models_kept",
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


def fits_of(database: Database, name: str) -> list[EmbeddingFit]:
    """Return what an embedding was fitted to, by this definition and by earlier ones, oldest first."""
    return database.list(EmbeddingFit, where={"embedding": name}, order="id")


def forget_fits(scope: Scope, name: str, *, but: str) -> list[str]:
    """Forget what an embedding was fitted to, but one model; return the hashes of the others' states."""
    with scope.write("vectors.forget_fits", name) as tx:
        gone = [one for one in tx.list(EmbeddingFit, where={"embedding": name}) if one.model != but]
        for one in gone:
            tx.delete(EmbeddingFit, id=one.id)
    return [one.fitted for one in gone]


def save_state(scope: Scope, state: EmbeddingState, *, begins: bool, fits: Sequence[EmbeddingFit] = ()) -> None:
    """Store how far an embedding has come.

    Args:
        scope: The workspace.
        state: The state.
        begins: It embeds something else than before, or by another model: earlier failures mean nothing.
        fits: What its model was fitted to just now, if searches of the past are by the fits of then.
    """
    if not begins:
        with scope.write(audit=None) as tx:
            tx.put(state)
        return
    with scope.write("vectors.begin", state.embedding, model=state.model) as tx:
        tx.put(state)
        for fit in fits:
            tx.insert(fit)
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


def unneeded_files(scope: Scope, models: Mapping[str, str], fits: Collection[EmbeddingFit]) -> list[str]:
    """Forget embeddings that are not in force, and the files of models that none in force has; return the files' hashes.

    What a training set was built by stays: the files of its model, or the state that TF-IDF was fitted to.

    Args:
        scope: The workspace.
        models: Embedding in force to the fingerprint of its model.
        fits: By which the past of these embeddings is searched.
    """
    removed = list[str]()
    with scope.write(audit=None) as tx:
        kept = {*models.values(), *(one.model for one in tx.list(FittedModel) if one.fitted is None)}
        kept |= {one.model for one in fits}
        for fit in tx.list(EmbeddingFit):
            if fit.model not in kept:
                tx.delete(EmbeddingFit, id=fit.id)
                removed.append(fit.fitted)
        for file in tx.list(VectorFile):
            if file.model not in kept:
                tx.delete(VectorFile, id=file.id)
                removed.append(file.sha256)
        for state in tx.list(EmbeddingState):
            if models.get(state.embedding) != state.model:
                tx.delete(EmbeddingState, embedding=state.embedding)
                _drop_failures(tx, state.embedding)
                if state.fitted is not None and tx.get(FittedModel, model=state.model) is None:
                    removed.append(state.fitted)
    return removed


def models_kept(database: Database, others: Collection[str]) -> list[FittedModel]:
    """Return the models that something was built by whose vectors are in files, without some others."""
    return [one for one in database.list(FittedModel) if one.fitted is None and one.model not in others]


def _drop_failures(tx: Transaction, name: str) -> None:
    tx.execute(f"DELETE FROM {VectorFailure.table} WHERE embedding = ?", (name,))
