"""Rebuild an embedding: look at every row again, and leave in files only the vectors that a stored row needs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tinymlops.embedders import text_key
from tinymlops.features.definitions.specs import EmbeddingSpec
from tinymlops.features.history.stored import stored_rows
from tinymlops.features.vectors.by_words import directory_of_words
from tinymlops.features.vectors.following import Followed, alone, follow
from tinymlops.features.vectors.image import directory_of
from tinymlops.features.vectors.standing import standing_of
from tinymlops.records import VectorFile
from tinymlops.registry.vectors import forget_failures, replace_files, save_state, state_of_embedding, unneeded_files
from tinymlops.stores.collection import remove_unnamed
from tinymlops.stores.vector_files import open_vectors, store_vectors
from tinymlops.times import system_clock

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.records import EmbeddingState

__all__ = ["rebuild"]


def rebuild(context: Context, spec: EmbeddingSpec, *, purge: bool, anew: bool) -> Followed:
    """Look at every row again: failures are tried again, and a text that has a vector is not embedded again.

    Args:
        context: The workspace's state.
        spec: The embedding.
        purge: Also rewrite the files without the vectors that no stored row needs, and remove the old ones at once.
        anew: Take the model as it is now, fitted on what is known now.
    """
    state = state_of_embedding(context.environment.database, spec.name)
    if state is not None and not anew:
        save_state(context.scope, msgspec.structs.replace(state, covered=0), begins=True)
    if purge:
        shutil.rmtree(directory_of(context, spec), ignore_errors=True)
        shutil.rmtree(directory_of_words(context, spec), ignore_errors=True)
        if spec.text is not None:
            with alone(context):
                _purge(context)
    return follow(context, spec, anew=anew)


def _purge(context: Context) -> None:
    """Rewrite the files of every model that an embedding in force has; those of other models go."""
    embeddings = [one for one in context.definitions.of(EmbeddingSpec).values() if one.text is not None]
    standing = [(spec, state) for spec in embeddings if (state := standing_of(context, spec).state) is not None]
    gone = list[str]()
    for model in {state.model for _, state in standing}:
        of_model = [(spec, state) for spec, state in standing if state.model == model]
        gone += _rewrite(context, [spec for spec, _ in of_model], of_model[0][1])
    gone += unneeded_files(context.scope, {spec.name: state.model for spec, state in standing})
    remove_unnamed(context.environment, gone)


def _rewrite(context: Context, embeddings: list[EmbeddingSpec], state: EmbeddingState) -> list[str]:
    """Put into one file what rows of these embeddings need of a model's vectors; return the hashes of the files before."""
    needed, stored = set[bytes](), dict[str, set[int]]()
    for spec in embeddings:
        assert spec.text is not None, "asked of texts"
        rows = stored_rows(context, spec.source, [spec.text])
        needed |= set(map(text_key, rows[spec.text].drop_nulls().unique().to_list()))
        stored[spec.name] = set(rows["__sequence"].to_list())
    with context.scope.publishing():
        old = forget_failures(context.scope, state.model, stored)
        hashes, vectors = list[bytes](), []
        for file in old:
            table = open_vectors(context.environment.blobs, file.sha256)
            keys = [row.tobytes() for row in np.asarray(table.hashes)]
            places = [place for place, key in enumerate(keys) if key in needed]
            needed -= set(keys)
            hashes += [keys[place] for place in places]
            vectors.append(np.asarray(table.vectors[places]))
        if len(old) <= 1 and len(hashes) == sum(file.rows for file in old):
            return []
        new = None
        if hashes:
            sha256 = store_vectors(context.environment.blobs, hashes, np.concatenate(vectors))
            new = VectorFile(
                model=state.model,
                sha256=sha256,
                dimension=state.dimension,
                rows=len(hashes),
                created_at=system_clock(),
            )
        replace_files(context.scope, state.model, old, new)
    return [file.sha256 for file in old]
